"""Who calls and what a request may cost."""
