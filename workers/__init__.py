"""The workers and the command line: they fetch sources, build SRPMs, submit builds and poll them."""
