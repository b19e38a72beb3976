"""A stand-in for upstream: GitHub's answers about releases, and the source archives."""
