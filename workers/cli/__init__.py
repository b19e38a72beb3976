"""The ``cryopack`` command."""
