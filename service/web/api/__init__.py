"""``/api/v1``: its routes and the shapes of their answers."""
