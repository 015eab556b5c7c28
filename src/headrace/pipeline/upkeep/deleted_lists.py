"""The loop that removes what belongs to deleted audiences and topics.

Deleting takes effect at once. The members, maybe a million, are removed here in transactions of a
few milliseconds, each with its `sendrealm.audience.exited`. The store holds the remaining work, so
a restart continues it.
"""

from __future__ import annotations

from collections.abc import Callable

from headrace.pipeline.leadership import Leadership
from headrace.pipeline.loop import Loop, LoopOptions
from headrace.store.contacts.groups.audiences import Audiences
from headrace.store.contacts.groups.topics import Topics
from headrace.store.contract.processing import ProcessingStore

#: One worker at a time removes: two would wait for each other's row locks.
LEADERSHIP = "removals"
LEADERSHIP_SECONDS = 30.0
#: Rows of one transaction. Each exit is an event to process, so this also keeps one large audience
#: from filling the queue faster than a worker drains it.
SLICE_ROWS = 200
SLICE_SECONDS = 0.1
#: Seconds between two polls while there is nothing to do.
IDLE_SECONDS = 1.0
#: The pause doubles up to this while there is nothing to do.
IDLE_SECONDS_MAX = 5.0
ERROR_SECONDS = 1.0


class DeletedListCleaner:
    """Works one slice after the other.

    Args:
        leadership_store: decides which worker leads.
        owner: name of this process, see `headrace.process_names`.
        clock_us: microseconds since 1970.
    """

    def __init__(
        self,
        audiences: Audiences,
        topics: Topics,
        leadership_store: ProcessingStore,
        *,
        owner: str,
        clock_us: Callable[[], int],
    ) -> None:
        self._audiences = audiences
        self._topics = topics
        self._leadership = Leadership(
            leadership_store.acquire_leadership,
            LEADERSHIP,
            owner=owner,
            lease_s=LEADERSHIP_SECONDS,
            clock_us=clock_us,
        )
        self._clock_us = clock_us

    async def run(self) -> None:
        """Remove until cancelled."""
        options = LoopOptions(
            name="removals",
            pause_s=IDLE_SECONDS,
            idle_max_s=IDLE_SECONDS_MAX,
            error_s=ERROR_SECONDS,
        )
        await Loop(self._step, options).run()

    async def _step(self) -> float | None:
        return SLICE_SECONDS if await self.run_once() else None

    async def run_once(self) -> bool:
        """One slice of each kind; returns whether there is more to remove.

        Raises:
            StoreError: the store is unavailable.
        """
        if not await self._leadership.is_held():
            return False
        members = await self._audiences.remove_deleted(SLICE_ROWS, self._clock_us())
        subscriptions = await self._topics.remove_deleted(SLICE_ROWS)
        return members or subscriptions
