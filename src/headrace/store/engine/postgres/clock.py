"""The clock of the database, as this process knows it without asking."""

from __future__ import annotations

import time

from headrace.domain.timestamps import now_us
from headrace.store.engine.postgres.database import Connection, Database

#: Looks at the clock, of which the quickest answer counts: it has the least error.
_SAMPLES = 3
#: From one measurement to the next.
MEASURE_SECONDS = 10.0


class StoreClock:
    """The machine's clock and how far it is from the database's.

    All processes on one database thus have one time, to within half a round trip, also when the
    clock of a machine is wrong.
    """

    def __init__(self) -> None:
        self.offset_us = 0
        self._measured_at = -MEASURE_SECONDS

    def __call__(self) -> int:
        return now_us() + self.offset_us

    async def measure(self, database: Database) -> None:
        """Measure the offset, unless that was done lately."""
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
