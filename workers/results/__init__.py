"""What is fetched and read after the end of a build: logs, causes, RPMs, tags."""
