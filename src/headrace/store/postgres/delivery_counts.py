"""How deliveries go, on PostgreSQL."""

from __future__ import annotations

from headrace.store.contract_delivery_counts import (
    BREAKERS_MAX,
    CLAIMED_COUNTED_MAX,
    AttemptCounts,
    DeliveryNumbers,
)
from headrace.store.postgres.database import Connection, Database
from headrace.store.rows.attempt_counts import NAME, counts_of, text_with

_GET = "SELECT value FROM meta WHERE name = $1"
# Workers add one after the other.
_LOCK = (
    "INSERT INTO meta AS m (name, value) VALUES ($1, '') "
    "ON CONFLICT (name) DO UPDATE SET value = m.value RETURNING value"
)
_SET = "UPDATE meta SET value = $2 WHERE name = $1"
CLAIMED = (
    "SELECT count(*) FROM (SELECT 1 FROM deliveries "  # noqa: S608
    f"WHERE state = 1 LIMIT {CLAIMED_COUNTED_MAX}) AS d"
)
_BREAKERS = f"SELECT breaker FROM subscribers WHERE breaker IS NOT NULL LIMIT {BREAKERS_MAX}"  # noqa: S608


class PostgresDeliveryCounts:
    """See `headrace.store.contract_delivery_counts.DeliveryCountStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_counts(self, counts: AttemptCounts) -> None:
        async def work(connection: Connection) -> None:
            text = await connection.fetchval(_LOCK, NAME)
            await connection.execute(_SET, NAME, text_with(text, counts))

        await self._database.write(work)

    async def numbers(self) -> DeliveryNumbers:
        async def read(connection: Connection) -> DeliveryNumbers:
            counts = counts_of(await connection.fetchval(_GET, NAME))
            claimed = await connection.fetchval(CLAIMED)
            breakers = [text for (text,) in await connection.fetch(_BREAKERS)]
            return DeliveryNumbers(counts, claimed, breakers)

        return await self._database.read(read)
