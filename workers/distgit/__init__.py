"""Dist-git with real git: merge, commit, lookaside cache, pull requests."""
