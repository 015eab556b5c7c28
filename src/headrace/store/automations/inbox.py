"""The inbox of the runner: processed events that may start or continue a run.

A row is written in the transaction that marks its event as processed, and removed in the one that
applies the event to runs: each event is applied exactly once.
"""

from __future__ import annotations

from collections.abc import Sequence

from headrace.store.contract.automations import InboxEvent
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Transaction

# A replayed event may still be there.
_ADD = sql(
    "INSERT INTO automation_inbox (lane, sequence, project_id, contact_id, due_us) "
    "SELECT n.lane, n.sequence, n.project_id, n.contact_id, $5 "
    "FROM unnest($1::smallint[], $2::bigint[], $3::int[], $4::text[]) "
    "AS n (lane, sequence, project_id, contact_id) WHERE true "
    "ON CONFLICT (lane, sequence) DO UPDATE SET due_us = excluded.due_us, attempt = 0"
)


async def add_to_inbox(tx: Transaction, events: Sequence[InboxEvent], now_us: int) -> None:
    """Add events to the inbox, in the transaction that processes them."""
    if events:
        rows = [(one.lane, one.sequence, one.project_id, one.contact_id) for one in events]
        await tx.run(_ADD, *columns_of(rows, 4), now_us)
