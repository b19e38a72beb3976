"""Benchmarks: each figure beside its floor or its peer. ``make bench`` prints them in one table."""
