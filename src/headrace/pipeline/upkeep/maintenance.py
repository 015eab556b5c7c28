"""What a store wants done every now and then, in a process that has no other loop for it."""

from __future__ import annotations

import asyncio

import structlog

from headrace.observability.events import STORE_UNAVAILABLE
from headrace.store.contract.events import StoreError
from headrace.store.store import Store

INTERVAL_SECONDS = 2.0

_log = structlog.get_logger()


class Maintenance:
    """Asks the store to maintain itself."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def run(self) -> None:
        """Ask until cancelled; a store that is away for a while is asked again."""
        while True:
            try:
                await self._store.maintain()
            except StoreError as error:
                _log.warning(STORE_UNAVAILABLE, loop="maintenance", error=str(error))
            await asyncio.sleep(INTERVAL_SECONDS)
