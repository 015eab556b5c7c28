"""The loop that removes what belongs to deleted audiences and topics.

They are gone for everybody the moment they are deleted. A million members are let go here, in
transactions of a few milliseconds, each with its `sendrealm.audience.exited`. What is still to
be done stands in the store, so a restart goes on with it.
"""

from __future__ import annotations

from collections.abc import Callable

from headrace.pipeline.leadership import Leadership
from headrace.pipeline.loop import Loop, LoopOptions
from headrace.store.contacts.groups.audiences import Audiences
from headrace.store.contacts.groups.topics import Topics
from headrace.store.contract.processing import ProcessingStore

#: One worker at a time has it: two would wait for one another's rows.
LEADERSHIP = "removals"
LEADERSHIP_SECONDS = 30.0
#: Rows of one transaction. Each exit is an event that is to be processed, so this is also what
#: keeps one large audience from filling the line faster than a worker empties it.
SLICE_ROWS = 200
SLICE_SECONDS = 0.1
#: Between two looks for something to do.
IDLE_SECONDS = 1.0
ERROR_SECONDS = 1.0


class DeletedListCleaner:
    """Works one slice after the other.

    Args:
        duties: tells which worker removes.
        owner: name of this process, see `headrace.process_names`.
        clock_us: microseconds since 1970.
    """

    def __init__(
        self,
        audiences: Audiences,
        topics: Topics,
        duties: ProcessingStore,
        *,
        owner: str,
        clock_us: Callable[[], int],
    ) -> None:
        self._audiences = audiences
        self._topics = topics
        self._leadership = Leadership(
            duties.acquire_leadership,
            LEADERSHIP,
            owner=owner,
            lease_s=LEADERSHIP_SECONDS,
            clock_us=clock_us,
        )
        self._clock_us = clock_us

    async def run(self) -> None:
        """Remove until cancelled."""
        options = LoopOptions(name="removals", pause_s=IDLE_SECONDS, error_s=ERROR_SECONDS)
        await Loop(self._step, options).run()

    async def _step(self) -> float | None:
        return SLICE_SECONDS if await self.run_once() else None

    async def run_once(self) -> bool:
        """One slice of each kind; whether there is more to remove.

        Raises:
            StoreError: the store cannot do it now.
        """
        if not await self._leadership.is_held():
            return False
        members = await self._audiences.remove_deleted(SLICE_ROWS, self._clock_us())
        subscriptions = await self._topics.remove_deleted(SLICE_ROWS)
        return members or subscriptions
