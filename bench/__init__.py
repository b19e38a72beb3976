"""Benchmarks; ``make bench`` prints their figures in one table, each beside its floor or its peer."""
