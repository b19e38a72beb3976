"""A stand-in for Koji's hub: XML-RPC, tasks, builds, tags, side tags, repositories."""
