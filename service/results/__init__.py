"""The facts of an ended build as rows: its logs, their diagnosis, a remedy, the checks of its RPMs."""
