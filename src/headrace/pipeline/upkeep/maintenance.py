"""What a store wants done every now and then, in a process that has no other loop for it."""

from __future__ import annotations

from headrace.pipeline.loop import Loop, LoopOptions
from headrace.store.store import Store

INTERVAL_SECONDS = 2.0


class Maintenance:
    """Asks the store to maintain itself."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def run(self) -> None:
        """Ask until cancelled; a store that is away for a while is asked again."""
        options = LoopOptions(name="maintenance", pause_s=INTERVAL_SECONDS)
        await Loop(self._store.maintain, options).run()
