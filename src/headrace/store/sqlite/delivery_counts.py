"""How deliveries go, in the embedded store."""

from __future__ import annotations

from typing import Any

import apsw

from headrace.store.contract_delivery_counts import (
    BREAKERS_MAX,
    CLAIMED_COUNTED_MAX,
    AttemptCounts,
    DeliveryNumbers,
)
from headrace.store.rows.attempt_counts import NAME, counts_of, text_with
from headrace.store.sqlite.readers import Readers
from headrace.store.sqlite.writer import Writer

_GET = "SELECT value FROM meta WHERE name = ?"
_SET = (
    "INSERT INTO meta (name, value) VALUES (?, ?) "
    "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
_CLAIMED = (
    "SELECT count(*) FROM (SELECT 1 FROM deliveries INDEXED BY deliveries_leased "  # noqa: S608
    f"WHERE state = 1 AND lease_until_us > 0 LIMIT {CLAIMED_COUNTED_MAX})"
)
_BREAKERS = f"SELECT breaker FROM subscribers WHERE breaker IS NOT NULL LIMIT {BREAKERS_MAX}"  # noqa: S608


class SqliteDeliveryCounts:
    """See `headrace.store.contract_delivery_counts.DeliveryCountStore`."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def add_counts(self, counts: AttemptCounts) -> None:
        def work(connection: apsw.Connection) -> None:
            connection.execute(_SET, (NAME, text_with(_text(connection), counts)))

        await self._writer.run(work)

    async def numbers(self) -> DeliveryNumbers:
        def read(connection: apsw.Connection) -> DeliveryNumbers:
            claimed: Any = connection.execute(_CLAIMED).fetchone()
            breakers = [str(row[0]) for row in connection.execute(_BREAKERS)]
            return DeliveryNumbers(counts_of(_text(connection)), claimed[0], breakers)

        return await self._readers.run(read)


def _text(connection: apsw.Connection) -> str | None:
    row: Any = connection.execute(_GET, (NAME,)).fetchone()
    return None if row is None else str(row[0])
