"""workers act: fetch sources, build SRPMs, submit, poll."""
