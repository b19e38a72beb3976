"""Downloads from upstream and from build systems, and the inspection of source archives."""
