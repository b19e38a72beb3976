"""What a command line may fail of beyond the commands themselves."""


class RemoteFailed(Exception):
    """The service elsewhere refused, or did not answer; one line that says which and what to do."""
