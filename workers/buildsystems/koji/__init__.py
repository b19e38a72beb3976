"""Koji behind the port to build systems."""
