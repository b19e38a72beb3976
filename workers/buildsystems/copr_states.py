"""COPR's states in our words. Both tables are total: a test compares them with COPR's own lists."""

from __future__ import annotations

from collections.abc import Mapping

from service.domain.states import ChrootState

CHROOT_STATES: Mapping[str, ChrootState] = {
    "waiting": ChrootState.PENDING,
    "pending": ChrootState.PENDING,
    "starting": ChrootState.RUNNING,
    "running": ChrootState.RUNNING,
    "importing": ChrootState.PENDING,
    "succeeded": ChrootState.SUCCEEDED,
    "forked": ChrootState.SUCCEEDED,
    "failed": ChrootState.FAILED,
    "canceled": ChrootState.CANCELED,
    "skipped": ChrootState.SKIPPED,
}

# What each build state means for us: "open" builds go on, "chroots" leaves the verdict to the chroots (the state is
# computed from them and not monotonic), "canceled" ends all chroots at once, however far they lag.
BUILD_STATES: Mapping[str, str] = {
    "pending": "open",
    "waiting": "open",
    "importing": "open",
    "starting": "chroots",
    "running": "chroots",
    "succeeded": "chroots",
    "failed": "chroots",
    "skipped": "chroots",
    "forked": "chroots",
    "unknown": "chroots",
    "canceled": "canceled",
}
