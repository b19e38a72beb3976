"""What is known of an ended build: its logs, its diagnosis, a remedy, the checks of its RPMs."""
