"""Stored logs: how they are packed, where they lie, how a part of them is read and shown."""
