"""Koji's side tags: their lifecycle, the turns of the builds in them, and the commands of maintainers."""
