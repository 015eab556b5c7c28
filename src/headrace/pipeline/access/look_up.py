"""Refreshes a cache at once for an id that it does not have."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from headrace.store.contract.errors import StoreError

#: Limit of ids known to be absent from the store; past it, all are forgotten.
ABSENT_MAX = 10_000


class LookUps:
    """Refreshes a cache for callers that name an unknown id.

    One refresh runs at a time; all callers that waited before it began share its result. An absent
    id is not looked up again until `forget` is called.

    Args:
        refresh: reads the store again.
        knows: whether the cache has an id.
    """

    def __init__(
        self, refresh: Callable[[], Awaitable[None]], knows: Callable[[str], bool]
    ) -> None:
        self._refresh = refresh
        self._knows = knows
        self._absent: set[str] = set()
        self._lock = asyncio.Lock()
        #: Number of refreshes begun.
        self._begun = 0

    def is_worthwhile(self, public_id: str) -> bool:
        """Whether the store may have an id that is not cached."""
        return public_id not in self._absent and not self._knows(public_id)

    async def look_up(self, public_id: str) -> None:
        """Refresh; the id stays unknown when the store cannot be read."""
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
        """Refresh on schedule, and forget which ids were absent.

        Raises:
            StoreError: the store cannot be read.
        """
        async with self._lock:
            self._begun += 1
            self._absent.clear()
            await self._refresh()
