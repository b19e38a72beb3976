"""From sources to a source package: spec checks, licenses, rpmbuild."""
