"""COPR's API v3 and the life of its builds."""
