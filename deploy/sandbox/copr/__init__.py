"""A stand-in for COPR: its API v3, its result files, and the steps that its builds go through."""
