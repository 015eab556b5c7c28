"""Reads of the queue besides events: its size, and the rules of subscribers."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.store.contract.processing import SubscriberRule, WorkStats
from headrace.store.engine.dialect import Statement, sql, to_sqlite
from headrace.store.engine.transaction import Transaction

#: Where counting of one kind stops.
COUNTED_MAX = 100_000
#: Projects whose oldest event is read.
PROJECTS_MAX = 64


def _count(rows: str, hint: str = "") -> Statement:
    text = f"SELECT count(*) FROM (SELECT 1 FROM {{rows}} LIMIT {COUNTED_MAX}) AS n"
    return sql(
        text.format(rows=rows.format(hint="")),
        sqlite=to_sqlite(text.format(rows=rows.format(hint=hint))),
    )


READY = _count("event_queue")
RETRYING = _count("event_retries")
# Without statistics SQLite would scan the table.
DELIVERIES = _count("deliveries{hint} WHERE state IN (0, 2)", hint=" INDEXED BY deliveries_due")
PAUSED_DELIVERIES = _count(
    "subscribers s CROSS JOIN deliveries d{hint} WHERE s.paused_us IS NOT NULL "
    "AND d.subscriber_id = s.id AND d.project_id = s.project_id AND d.state IN (0, 2)",
    hint=" INDEXED BY deliveries_due",
)
DEAD_LETTERS = _count("dead_letters WHERE state = 0")
NEXT_PROJECT = sql(
    "SELECT project_id FROM event_queue WHERE project_id > $1 ORDER BY project_id LIMIT 1"
)
OLDEST = sql(
    "SELECT e.received_us FROM (SELECT lane, sequence FROM event_queue WHERE project_id = $1 "
    "ORDER BY queued_us, sequence LIMIT 1) w "
    "JOIN events e ON e.lane = w.lane AND e.sequence = w.sequence",
    # On SQLite waiting events have the time of receipt in their own row.
    sqlite="SELECT due_us FROM event_queue WHERE project_id = ?1 ORDER BY sequence LIMIT 1",
)
_VERSION = sql("SELECT value FROM meta WHERE name = 'subscribers_version'")
_RULES = sql("SELECT id, project_id, events, enabled FROM subscribers")


async def read_stats(tx: Transaction) -> WorkStats:
    """Current sizes over all lanes; each counted up to `COUNTED_MAX`."""
    return WorkStats(
        ready=await tx.value(READY),
        retrying=await tx.value(RETRYING),
        deliveries=await tx.value(DELIVERIES),
        dead_letters=await tx.value(DEAD_LETTERS),
        oldest_us=await _oldest(tx),
        paused_deliveries=await tx.value(PAUSED_DELIVERIES),
    )


async def _oldest(tx: Transaction) -> int | None:
    found: list[int] = []
    project_id = -1
    for _ in range(PROJECTS_MAX):
        project_id = await tx.value(NEXT_PROJECT, project_id)
        if project_id is None:
            break
        received_us = await tx.value(OLDEST, project_id)
        if received_us is not None:
            found.append(received_us)
    return min(found, default=None)


async def read_subscriber_rules(tx: Transaction) -> tuple[int, Sequence[SubscriberRule]]:
    """`(version, rules)` of all projects; the version changes with every subscriber."""
    version = await tx.value(_VERSION)
    rules = [
        SubscriberRule(i, p, tuple(msgspec.json.decode(events)), bool(enabled))
        for i, p, events, enabled in await tx.rows(_RULES)
    ]
    return int(version or 0), rules
