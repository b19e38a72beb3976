"""Builds that are really made on this machine, and recorded ones that are shown again."""
