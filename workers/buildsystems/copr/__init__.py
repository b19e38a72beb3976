"""COPR behind the port to build systems."""
