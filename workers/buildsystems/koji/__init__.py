"""The Koji adapter of the port to build systems."""
