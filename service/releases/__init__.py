"""Upstream's releases, from a webhook or a list to planned builds: intake, planning, reconciliation."""
