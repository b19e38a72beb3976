"""Run everything on one machine, for ``cryopack up``."""
