"""COPR's states in our words. Both tables are total: a test compares them with COPR's own lists."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from service.domain.states import ChrootState


class Verdict(StrEnum):
    """What a build's state is good for. COPR computes it from the chroots, and it goes back and forth."""

    WAITS = "waits"
    ASK_CHROOTS = "ask the chroots"
    CANCELED = "canceled"


CHROOT_STATES: Mapping[str, ChrootState] = {
    "waiting": ChrootState.PENDING,
    "pending": ChrootState.PENDING,
    "starting": ChrootState.RUNNING,
    "running": ChrootState.RUNNING,
    "succeeded": ChrootState.SUCCEEDED,
    "failed": ChrootState.FAILED,
    "canceled": ChrootState.CANCELED,
    "skipped": ChrootState.SKIPPED,
    # A copy of another project's finished result: there is an RPM, and nothing will run.
    "forked": ChrootState.SUCCEEDED,
}

BUILD_STATES: Mapping[str, Verdict] = {
    "pending": Verdict.WAITS,
    "importing": Verdict.WAITS,
    "starting": Verdict.ASK_CHROOTS,
    "running": Verdict.ASK_CHROOTS,
    "succeeded": Verdict.ASK_CHROOTS,
    "failed": Verdict.ASK_CHROOTS,
    "skipped": Verdict.ASK_CHROOTS,
    "forked": Verdict.ASK_CHROOTS,
    "unknown": Verdict.ASK_CHROOTS,
    # The only final word on the whole build; its chroots lag behind, and its end time may stay empty.
    "canceled": Verdict.CANCELED,
}
