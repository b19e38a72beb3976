"""What is fetched from upstream and from build systems, and how an archive is read."""
