"""Dist-git: the build's commit, its merge with what maintainers edited, the lookaside cache, pull requests."""
