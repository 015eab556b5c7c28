"""Delivery statistics, in a single row."""

from __future__ import annotations

import msgspec

from headrace.store.contract.delivery_counts import (
    BREAKERS_MAX,
    CLAIMED_COUNTED_MAX,
    AttemptCounts,
    DeliveryNumbers,
)
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Database, Transaction

#: Name of the row in the table `meta`.
NAME = "attempt_counts"

_GET = sql("SELECT value FROM meta WHERE name = $1")
# Serializes workers that add.
_LOCK = sql(
    "INSERT INTO meta AS m (name, value) VALUES ($1, '') "
    "ON CONFLICT (name) DO UPDATE SET value = m.value RETURNING value"
)
_SET = sql("UPDATE meta SET value = $2 WHERE name = $1")
CLAIMED = sql(
    "SELECT count(*) FROM (SELECT 1 FROM deliveries "
    f"WHERE state = 1 AND lease_until_us > 0 LIMIT {CLAIMED_COUNTED_MAX}) AS n"
)
_BREAKERS = sql(f"SELECT breaker FROM subscribers WHERE breaker IS NOT NULL LIMIT {BREAKERS_MAX}")


class DeliveryCounts:
    """The stored statistics."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_counts(self, counts: AttemptCounts) -> None:
        """Add a worker's counts."""

        async def work(tx: Transaction) -> None:
            text = await tx.value(_LOCK, NAME)
            await tx.run(_SET, NAME, text_with(text, counts))

        await self._database.write(work)

    async def numbers(self) -> DeliveryNumbers:
        """Current delivery statistics."""

        async def read(tx: Transaction) -> DeliveryNumbers:
            counts = _counts_of(await tx.value(_GET, NAME))
            claimed = await tx.value(CLAIMED)
            breakers = [row[0] for row in await tx.rows(_BREAKERS)]
            return DeliveryNumbers(counts, claimed, breakers)

        return await self._database.read(read)


def text_with(text: str | None, more: AttemptCounts) -> str:
    """The row's text with `more` added."""
    counts = _counts_of(text)
    counts.add(more)
    return msgspec.json.encode(counts).decode()


def _counts_of(text: str | None) -> AttemptCounts:
    """Counts from their text; text that no release has written counts as zero."""
    if text is None:
        return AttemptCounts()
    try:
        return msgspec.json.decode(text, type=AttemptCounts)
    except msgspec.MsgspecError:
        return AttemptCounts()
