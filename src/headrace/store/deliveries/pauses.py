"""Webhooks that were paused: which of them have caught up, and how much waits for the others."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.store.engine.dialect import sql, to_sqlite
from headrace.store.engine.transaction import Transaction

#: Webhooks that one call examines.
PACED_MAX = 200
#: Where counting stops.
COUNTED_MAX = 100_000

PACED = sql(
    "SELECT id, project_id, resume_from_us FROM subscribers WHERE resume_per_second IS NOT NULL "
    f"ORDER BY id LIMIT {PACED_MAX}"
)
_DUE = (
    "SELECT 1 FROM deliveries{hint} WHERE subscriber_id = $1 AND project_id = $2 "
    "AND state IN (0, 2) AND due_us <= $3 LIMIT 1"
)
# Without statistics SQLite would not use the index.
_HINT = " INDEXED BY deliveries_due"
DUE = sql(_DUE.format(hint=""), sqlite=to_sqlite(_DUE.format(hint=_HINT)))
_END = sql(
    "UPDATE subscribers SET resume_per_second = NULL, resume_from_us = NULL "
    "WHERE id = $1 AND resume_from_us = $2"
)
_WAITING = (
    "SELECT count(*) FROM (SELECT 1 FROM deliveries{hint} WHERE subscriber_id = $1 "
    f"AND project_id = $2 AND state IN (0, 2) LIMIT {COUNTED_MAX}) AS n"
)
WAITING = sql(_WAITING.format(hint=""), sqlite=to_sqlite(_WAITING.format(hint=_HINT)))


async def find_caught_up(tx: Transaction, now_us: int) -> list[tuple[str, int]]:
    """Webhooks with a rate and nothing due: their id, and from when the rate counts."""
    found = []
    for subscriber_id, project_id, from_us in await tx.rows(PACED):
        if await tx.value(DUE, subscriber_id, project_id, now_us) is None:
            found.append((subscriber_id, from_us))
    return found


async def end_paces(tx: Transaction, ended: Sequence[tuple[str, int]]) -> None:
    """End rates that were not set or used since."""
    for subscriber_id, from_us in ended:
        await tx.run(_END, subscriber_id, from_us)


async def count_waiting(tx: Transaction, project_id: int, subscriber_id: str) -> int:
    """Deliveries that wait for a subscriber, counted up to `COUNTED_MAX`."""
    count: int = await tx.value(WAITING, subscriber_id, project_id)
    return count
