"""Exceptions for everything that is refused by the rules or by a command, each with a sentence for people."""


class DomainError(Exception):
    """Base of all refusals; ``str(error)`` is one line that a maintainer can act on."""


class BadTag(DomainError):
    """A git tag that is not a version of the family."""


class BadName(DomainError):
    """A branch, chroot or package name that does not follow Fedora's forms."""


class IllegalMove(DomainError):
    """A state change that the table of legal moves does not hold."""


class BadCatalog(DomainError):
    """The catalogue's data contradict themselves or miss something; names the file and the key."""


class BadPayload(DomainError):
    """A delivery whose JSON lacks what a release event must have."""


class BadSpec(DomainError):
    """A spec cannot be rendered from its request, or a rendered one is not what was planned."""


class CommandRefused(Exception):
    """The state forbids what was asked; ``str(error)`` says why in one line."""


class NotFound(CommandRefused):
    """There is no such row."""
