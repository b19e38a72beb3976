"""Upstream: GitHub's answers about releases, and the source archives."""
