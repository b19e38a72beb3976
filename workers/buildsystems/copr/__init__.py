"""The COPR adapter of the port to build systems."""
