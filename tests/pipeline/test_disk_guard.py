"""When ingest is rejected for lack of disk space."""

from __future__ import annotations

from asyncio import run
from types import SimpleNamespace
from typing import Any, cast

import pytest

from headrace.pipeline.intake.disk_guard import LOG_ROOM_BYTES, DiskGuard

MIB = 1024 * 1024
WATERMARK = 256 * MIB


class Measured:
    """A store that reports the free space set by the test."""

    def __init__(self, free: int | None, reusable: int) -> None:
        self.room = SimpleNamespace(free_bytes=free, reusable_bytes=reusable)

    async def health(self) -> object:
        return self.room


async def blocked(free: int | None, reusable: int, watermark: int = WATERMARK) -> bool:
    acceptor = SimpleNamespace(blocked=None)
    guard = DiskGuard(cast("Any", Measured(free, reusable)), cast("Any", acceptor), watermark)
    await guard.check()
    return acceptor.blocked is not None


@pytest.mark.parametrize(
    ("free", "reusable", "expected"),
    [
        (WATERMARK, 0, False),
        (WATERMARK - 1, 0, True),
        (WATERMARK - 1, 1, False),
        (LOG_ROOM_BYTES, WATERMARK, False),
        (LOG_ROOM_BYTES - 1, 100 * WATERMARK, True),
        (0, 0, True),
        (None, 0, False),
    ],
)
def test_room_freed_inside_the_file_does_not_count_for_the_log(
    free: int | None, reusable: int, expected: bool
) -> None:
    assert run(blocked(free, reusable)) is expected


def test_a_watermark_of_zero_turns_the_guard_off() -> None:
    assert not run(blocked(0, 0, watermark=0))


def test_ingest_resumes_once_there_is_room() -> None:
    async def scenario() -> list[bool]:
        store, acceptor = Measured(0, 0), SimpleNamespace(blocked=None)
        guard = DiskGuard(cast("Any", store), cast("Any", acceptor), WATERMARK)
        seen = []
        for free in (0, WATERMARK, WATERMARK - 1):
            store.room.free_bytes = free
            await guard.check()
            seen.append(acceptor.blocked is not None)
        return seen

    assert run(scenario()) == [True, False, True]
