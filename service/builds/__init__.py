"""One build from its claim to its end: claims, submissions, reports, follow-ups, and what maintainers may ask for."""
