"""This process's estimate of the database clock."""

from __future__ import annotations

import time

from headrace.domain.timestamps import now_us
from headrace.store.engine.postgres.database import Connection, Database

#: Reads of the clock, of which the fastest response counts: it has the least error.
_SAMPLES = 3
#: Time between measurements.
MEASURE_SECONDS = 10.0


class StoreClock:
    """The machine's clock and its offset from the database's.

    So all processes on one database share one time, to within half a round trip, even when the
    clock of a machine is wrong.
    """

    def __init__(self) -> None:
        self.offset_us = 0
        self._measured_at = -MEASURE_SECONDS

    def __call__(self) -> int:
        return now_us() + self.offset_us

    async def measure(self, database: Database) -> None:
        """Measure the offset, unless that was done recently."""
        if time.monotonic() - self._measured_at < MEASURE_SECONDS:
            return
        samples = [await database.read(_sample) for _ in range(_SAMPLES)]
        self.offset_us = min(samples)[1]
        self._measured_at = time.monotonic()


async def _sample(connection: Connection) -> tuple[int, int]:
    """`(length of the round trip, offset)` in microseconds."""
    before_us = now_us()
    started = time.perf_counter_ns()
    there_us = await connection.fetchval(
        "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
    )
    length_us = (time.perf_counter_ns() - started) // 1000
    return length_us, int(there_us) - before_us - length_us // 2
