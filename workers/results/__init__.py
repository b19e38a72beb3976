"""Follow-ups after the end of a build: its logs, the cause of its failure, its RPMs, its tags at Koji."""
