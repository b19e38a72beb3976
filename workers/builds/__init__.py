"""The steps of a build: prepare, submit, poll; deliveries, side tags and surplus builds beside them."""
