"""Exceptions for what the rules or a command refuse, each with a sentence for people."""


class DomainError(Exception):
    """Base of what the rules refuse; ``str(error)`` is one line that a maintainer can act on."""


class BadTag(DomainError):
    """A git tag that is not a version tag."""


class BadName(DomainError):
    """A name or key of a wrong form: a branch, a chroot, an NVR, a line of ``sources``."""


class IllegalMove(DomainError):
    """A change of state that the table of legal moves does not allow."""


class BadCatalog(DomainError):
    """The catalogue's data contradict themselves or lack something; names the file and the key."""


class BadPayload(DomainError):
    """A webhook delivery whose JSON lacks what a release event must have."""


class BadSpec(DomainError):
    """A spec that cannot be rendered from its request, or that is not what was planned."""


class CommandRefused(Exception):
    """A command that the present state does not allow; ``str(error)`` says why in one line."""


class NotFound(CommandRefused):
    """A command about a row that does not exist."""
