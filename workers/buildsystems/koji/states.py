"""Koji's states in our words. Both tables are total: a test compares them with Koji's own lists."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from service.domain.states import ChrootState


class Task(StrEnum):
    """The states of a task by Koji's names."""

    FREE = "free"
    OPEN = "open"
    CLOSED = "closed"
    CANCELED = "canceled"
    ASSIGNED = "assigned"
    FAILED = "failed"


TASK_STATES: Mapping[int, Task] = {
    0: Task.FREE,
    1: Task.OPEN,
    2: Task.CLOSED,
    3: Task.CANCELED,
    4: Task.ASSIGNED,
    5: Task.FAILED,
}
ENDED_TASK = frozenset({Task.CLOSED, Task.CANCELED, Task.FAILED})

# What one buildArch task says of its chroot.
CHROOT_STATES: Mapping[Task, ChrootState] = {
    Task.FREE: ChrootState.PENDING,
    Task.ASSIGNED: ChrootState.PENDING,
    Task.OPEN: ChrootState.RUNNING,
    Task.CLOSED: ChrootState.SUCCEEDED,
    Task.CANCELED: ChrootState.CANCELED,
    Task.FAILED: ChrootState.FAILED,
}


class Build(StrEnum):
    """The states of a build by Koji's names."""

    BUILDING = "building"
    COMPLETE = "complete"
    DELETED = "deleted"
    FAILED = "failed"
    CANCELED = "canceled"


BUILD_STATES: Mapping[int, Build] = {
    0: Build.BUILDING,
    1: Build.COMPLETE,
    2: Build.DELETED,
    3: Build.FAILED,
    4: Build.CANCELED,
}

# The faults that a builder raises when the package itself did not build. Every other one has another cause.
PACKAGE_FAULTS = frozenset({1005, 1010, 1011, 1012})
# Texts of those codes that are nevertheless about the hub's rules.
NOT_THE_PACKAGE = ("not in list for tag", "is locked", "policy", "No matching arches")
