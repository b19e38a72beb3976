"""One build from its claim to its end: claims, submissions, polls, follow-ups, and the commands of maintainers."""
