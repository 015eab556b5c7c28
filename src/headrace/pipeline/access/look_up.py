"""Asks the store at once for an id that nothing held in memory knows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from headrace.store.contract.errors import StoreError

#: Ids that the store was asked for and does not have; past so many all are forgotten.
ABSENT_MAX = 10_000


class LookUps:
    """Refreshes what is held in memory for callers that name something new.

    However many wait, one refresh runs at a time, and all who asked before it began share its
    result. An id that is not there is not asked for again until `forget` is called.

    Args:
        refresh: reads the store again.
        knows: whether what is held has an id.
    """

    def __init__(
        self, refresh: Callable[[], Awaitable[None]], knows: Callable[[str], bool]
    ) -> None:
        self._refresh = refresh
        self._knows = knows
        self._absent: set[str] = set()
        self._lock = asyncio.Lock()
        #: Refreshes that have begun.
        self._begun = 0

    def is_worthwhile(self, public_id: str) -> bool:
        """Whether the store may know an id that is not held."""
        return public_id not in self._absent and not self._knows(public_id)

    async def look_up(self, public_id: str) -> None:
        """Have the store asked; a store that cannot be read leaves the id unknown."""
        begun_before = self._begun
        async with self._lock:
            if self._begun == begun_before:
                self._begun += 1
                try:
                    await self._refresh()
                except StoreError:
                    return
        if not self._knows(public_id):
            if len(self._absent) >= ABSENT_MAX:
                self._absent.clear()
            self._absent.add(public_id)

    async def refresh(self) -> None:
        """Refresh as the clock says, and forget what was not there before.

        Raises:
            StoreError: the store cannot be read.
        """
        async with self._lock:
            self._begun += 1
            self._absent.clear()
            await self._refresh()
