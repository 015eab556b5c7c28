"""Merges the anonymous contact of before a sign-in into the contact that signed in.

Processing records a conflict of the two in the transaction of the event, and asks for the merge
here. So if a worker ends before the merge, the conflict stays open: an operator sees it, and the
next event that names both ids asks again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from headrace.domain.contacts.contact import Contact
from headrace.domain.contacts.earlier_ids import is_anonymous
from headrace.domain.errors import ApiError
from headrace.observability.events import MERGES_DROPPED
from headrace.pipeline.loop import Loop, LoopOptions
from headrace.pipeline.processing.plan_contacts import MergeWanted
from headrace.store.contract.merges import Merge, MergeRejectedError

#: Merges that may wait; past it, the conflicts stay open.
WAITING_MAX = 10_000
PAUSE_SECONDS = 60.0
ERROR_SECONDS = 1.0
#: `merged_by` of such a merge.
ACTOR = "event"

_log = structlog.get_logger()


class ContactReader(Protocol):
    """Where contacts are read."""

    async def get(self, project_id: int, contact_id: str) -> Contact | None: ...


class MergeWriter(Protocol):
    """Where contacts are merged."""

    async def merge(
        self, project_id: int, contact_id: str, other_id: str, now_us: int, *, actor: str
    ) -> Merge: ...


class ContactMerger:
    """Merges contacts, one pair after the other."""

    def __init__(
        self, contacts: ContactReader, merges: MergeWriter, clock_us: Callable[[], int]
    ) -> None:
        self._contacts = contacts
        self._merges = merges
        self._clock_us = clock_us
        self._waiting: deque[MergeWanted] = deque()
        self._wake = asyncio.Event()

    def add(self, wanted: Sequence[MergeWanted]) -> None:
        """Ask for merges, after the transaction that has found them."""
        room = WAITING_MAX - len(self._waiting)
        self._waiting.extend(wanted[:room])
        if len(wanted) > room:
            _log.warning(MERGES_DROPPED, count=len(wanted) - room)
        self._wake.set()

    async def run(self) -> None:
        """Merge until cancelled."""
        options = LoopOptions(name="contact merges", pause_s=PAUSE_SECONDS, error_s=ERROR_SECONDS)
        await Loop(self._step, options, wake=self._wake).run()

    async def _step(self) -> float | None:
        while self._waiting:
            await self._merge(self._waiting[0])
            self._waiting.popleft()
        return None

    async def _merge(self, wanted: MergeWanted) -> None:
        other = await self._contacts.get(wanted.project_id, wanted.other_id)
        # It may have been merged, deleted or identified since.
        if other is None or other.id != wanted.other_id or not is_anonymous(other):
            return
        try:
            await self._merges.merge(
                wanted.project_id, wanted.contact_id, other.id, self._clock_us(), actor=ACTOR
            )
        except (MergeRejectedError, ApiError):
            # The conflict stays open, for an operator to decide.
            return
