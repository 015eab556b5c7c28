"""When keys were last used: held in memory, written to the store once a minute."""

from __future__ import annotations

from collections.abc import Callable

from headrace.observability.events import KEY_USES_LOST
from headrace.pipeline.access.keys import AccessCache
from headrace.pipeline.loop import Loop, LoopOptions
from headrace.store.access.members import Members
from headrace.store.contract.errors import StoreError

NOTE_SECONDS = 60.0


class KeyUseLog:
    """Writes the keys used since the last flush, for the list of keys."""

    def __init__(self, access: AccessCache, members: Members, clock_us: Callable[[], int]) -> None:
        self._access = access
        self._members = members
        self._clock_us = clock_us

    async def flush(self) -> None:
        """Write the uses since the last flush.

        Raises:
            StoreError: the write failed; the list then shows an older use.
        """
        uses = self._access.take_uses()
        if uses:
            await self._members.note_key_uses(dict.fromkeys(uses, self._clock_us()))

    async def run(self) -> None:
        """Write every minute until cancelled."""
        options = LoopOptions(
            name="key_uses",
            pause_s=NOTE_SECONDS,
            pause_first=True,
            failures={StoreError: KEY_USES_LOST},
        )
        await Loop(self.flush, options).run()
