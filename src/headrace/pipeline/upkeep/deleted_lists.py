"""The loop that removes what belongs to deleted audiences and topics.

They are gone for everybody the moment they are deleted. A million members are let go here, in
transactions of a few milliseconds, each with its `sendrealm.audience.exited`. What is still to
be done stands in the store, so a restart goes on with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from headrace.observability.events import STORE_UNAVAILABLE
from headrace.store.contacts.groups.audiences import Audiences
from headrace.store.contacts.groups.topics import Topics
from headrace.store.contract.events import StoreError
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

_log = structlog.get_logger()


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
        self._leadership = duties
        self._owner = owner
        self._clock_us = clock_us
        self._renew_at_us = 0

    async def run(self) -> None:
        """Remove until cancelled; an error is logged and waited out, never the end."""
        while True:
            try:
                more = await self.run_once()
            except StoreError as error:
                _log.warning(STORE_UNAVAILABLE, loop="removals", error=str(error))
                await asyncio.sleep(ERROR_SECONDS)
            else:
                await asyncio.sleep(SLICE_SECONDS if more else IDLE_SECONDS)

    async def run_once(self) -> bool:
        """One slice of each kind; whether there is more to remove.

        Raises:
            StoreError: the store cannot do it now.
        """
        if not await self._is_leader():
            return False
        members = await self._audiences.remove_deleted(SLICE_ROWS, self._clock_us())
        subscriptions = await self._topics.remove_deleted(SLICE_ROWS)
        return members or subscriptions

    async def _is_leader(self) -> bool:
        now_us = self._clock_us()
        if now_us < self._renew_at_us:
            return True
        lease_us = int(LEADERSHIP_SECONDS * 1_000_000)
        if await self._leadership.acquire_leadership(LEADERSHIP, self._owner, lease_us) is None:
            self._renew_at_us = 0
            return False
        self._renew_at_us = now_us + lease_us // 3
        return True
