"""Every table in one import, for those who need them all: migrations, and the test that compares them."""

from service.store import access, diagnoses, overrides, schema
from service.store.base import Base

__all__ = ["Base", "access", "diagnoses", "overrides", "schema"]
