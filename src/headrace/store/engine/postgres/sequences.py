"""Sequence numbers in time order that are unique across processes."""

from __future__ import annotations

from collections.abc import Callable

from headrace.domain.ids import WRITERS, EventIdGenerator
from headrace.store.engine.postgres.database import Connection


class SequenceAllocator:
    """Numbers the rows that this process writes.

    Two live processes never give the same number, unless 512 others started in between; the primary
    key catches that. On the event loop only.

    Args:
        clock_us: the clock of the store.
        writer: number of this process.
        after: the highest sequence stored.
    """

    def __init__(self, clock_us: Callable[[], int], writer: int, after: int) -> None:
        self._clock_us = clock_us
        self._writer = writer
        self._after = after
        self._system = EventIdGenerator(clock_us, after=after, writer=writer, system=True)

    @property
    def writer(self) -> int:
        """Number of this process."""
        return self._writer

    def accepted(self) -> EventIdGenerator:
        """The generator for events that the process accepts; one per process."""
        return EventIdGenerator(self._clock_us, after=self._after, writer=self._writer)

    def now_us(self) -> int:
        """Time of the store's clock."""
        return self._clock_us()

    def event(self, lane: int, now_us: int | None = None) -> tuple[int, bytes]:
        """`(sequence, id)` of a system event.

        The ids of dead letters are made the same way.
        """
        return self._system.next(lane, now_us)

    def number(self, now_us: int | None = None) -> int:
        """Number of a delivery, dead letter, contact or conflict."""
        return self._system.next(0, now_us)[0]


async def take_writer(connection: Connection) -> int:
    """The number of this process; numbers repeat after 512 starts."""
    return int(await connection.fetchval("SELECT nextval('writers')")) % WRITERS
