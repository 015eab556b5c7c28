"""Stops ingest while there is still room on the disk for everything else."""

from __future__ import annotations

import structlog

from headrace.domain.errors import ApiError, ErrorCode
from headrace.observability.events import DISK_ENOUGH, DISK_LOW, STORE_UNAVAILABLE
from headrace.pipeline.intake.accept import STORAGE_RETRY_S, Acceptor
from headrace.pipeline.loop import Loop, LoopOptions
from headrace.store.contract.errors import StoreError
from headrace.store.store import Store

CHECK_SECONDS = 1.0
#: What the log of the embedded store may need for itself, with a good margin.
LOG_ROOM_BYTES = 128 * 1024 * 1024

_log = structlog.get_logger()


class DiskGuard:
    """Checks the free space once a second.

    Args:
        free_bytes_min: ingest is rejected below; 0 turns the guard off.
    """

    def __init__(self, store: Store, acceptor: Acceptor, free_bytes_min: int) -> None:
        self._store = store
        self._acceptor = acceptor
        self._free_bytes_min = free_bytes_min

    async def check(self) -> None:
        """Open or close ingest by what is free now."""
        health = await self._store.health()
        if health.free_bytes is None:
            return
        # Space that retention freed inside the file counts as well, but not for the log.
        room = health.free_bytes + health.reusable_bytes
        log_room_min = min(self._free_bytes_min, LOG_ROOM_BYTES)
        low = room < self._free_bytes_min or health.free_bytes < log_room_min
        if low and self._acceptor.blocked is None:
            _log.error(DISK_LOW, free_bytes=health.free_bytes, free_bytes_min=self._free_bytes_min)
            message = "The disk is nearly full; events are not accepted until there is room."
            self._acceptor.blocked = ApiError(
                ErrorCode.STORAGE_UNAVAILABLE, message, retry_after_s=STORAGE_RETRY_S
            )
        elif not low and self._acceptor.blocked is not None:
            _log.info(DISK_ENOUGH, free_bytes=health.free_bytes)
            self._acceptor.blocked = None

    async def run(self) -> None:
        """Check until cancelled."""
        options = LoopOptions(
            name="disk_guard",
            pause_s=CHECK_SECONDS,
            failures={StoreError: STORE_UNAVAILABLE, OSError: STORE_UNAVAILABLE},
        )
        await Loop(self._step, options).run()

    async def _step(self) -> None:
        await self.check()
        await self._store.maintain()
