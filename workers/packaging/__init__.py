"""Specs and SRPMs: checks by rpmspec and rpmlint, license expressions, rpmbuild."""
