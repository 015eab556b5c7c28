"""Periodic maintenance of the store, in a process that has no other loop for it."""

from __future__ import annotations

from headrace.pipeline.loop import Loop, LoopOptions
from headrace.store.store import Store

INTERVAL_SECONDS = 2.0


class Maintenance:
    """Asks the store to maintain itself."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def run(self) -> None:
        """Run until cancelled; retries when the store is unavailable."""
        options = LoopOptions(name="maintenance", pause_s=INTERVAL_SECONDS)
        await Loop(self._store.maintain, options).run()
