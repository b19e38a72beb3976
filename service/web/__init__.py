"""The web process: webhooks in, pages and the reading API out. A leaf: nothing imports it."""
