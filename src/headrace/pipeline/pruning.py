"""The loop that removes counters which are kept no longer: hours of the catalog, and rollups."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from headrace.observability.events import LOOP_FAILED
from headrace.store.contract import StoreError
from headrace.store.contract_catalog import CatalogStore
from headrace.store.contract_rollups import RollupStore

EVERY_SECONDS = 30.0
#: Rows of one transaction, and the pause after one that was full.
ROWS_MAX = 200
PAUSE_SECONDS = 0.05

_log = structlog.get_logger()


class Pruning:
    """Removes in small transactions. Two processes that do it at once only do it twice."""

    def __init__(
        self,
        catalog: CatalogStore,
        rollups: RollupStore,
        clock_us: Callable[[], int],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._catalog = catalog
        self._rollups = rollups
        self._clock_us = clock_us
        self._pause = pause

    async def run(self) -> None:
        """Prune until cancelled; an error is logged and waited out, never the end."""
        while True:
            await self._pause(EVERY_SECONDS)
            try:
                await self.run_once()
            except StoreError as error:
                _log.warning(LOOP_FAILED, loop="pruning", error=str(error))

    async def run_once(self) -> int:
        """Remove all that is due; how many rows.

        Raises:
            StoreError: the store cannot do it now.
        """
        total = 0
        for prune in (self._rollups.prune, self._catalog.prune):
            while removed := await prune(self._clock_us(), ROWS_MAX):
                total += removed
                await self._pause(PAUSE_SECONDS)
        return total
