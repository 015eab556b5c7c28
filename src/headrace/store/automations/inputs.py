"""Events as inputs of runs, read in the transaction that advances these."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from headrace.domain.automations.filters.values import json_of
from headrace.domain.automations.running.runs import Event, read_payload
from headrace.domain.events.event import Source, StoredEvent
from headrace.domain.ids import uuid_text
from headrace.domain.json_text import Number
from headrace.store.contract.processing import SystemEvent
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import sql
from headrace.store.engine.system_events import SystemEvents
from headrace.store.engine.transaction import Transaction
from headrace.store.events.stored_events import COLUMNS, stored_event

#: Member of the payload of a system event that a run has caused.
CAUSED_BY = "caused_by"
#: Depths above this count as this one; far above what the policy allows.
DEPTH_MAX = 1000

EVENT = sql(f"SELECT {COLUMNS} FROM stored_events e WHERE e.lane = $1 AND e.sequence = $2")
EVENTS = sql(
    f"SELECT {COLUMNS} FROM unnest($1::smallint[], $2::bigint[]) AS k (lane, sequence) "
    "JOIN stored_events e ON e.lane = k.lane AND e.sequence = k.sequence"
)


def event_of(stored: StoredEvent) -> Event:
    """A stored event as an input of runs."""
    payload = read_payload(stored.payload)
    return Event(
        sequence=stored.sequence,
        id=uuid_text(stored.id),
        name=stored.event,
        payload=payload,
        occurred_us=stored.occurred_us,
        received_us=stored.received_us,
        source=stored.source,
        depth=_depth(payload) if stored.source == Source.SYSTEM else 0,
    )


def _depth(payload: dict[str, Any]) -> int:
    """How long the chain of automations is that has caused an event."""
    cause = payload.get(CAUSED_BY)
    depth = cause.get("depth") if isinstance(cause, dict) else None
    if not isinstance(depth, Number) or not depth.isdigit():
        return 0
    return min(int(depth[:9]), DEPTH_MAX)


async def find_events(tx: Transaction, keys: Iterable[tuple[int, int]]) -> dict[int, Event]:
    """Events by sequence, given lane and sequence of each; without those that are gone."""
    rows = await tx.rows(EVENTS, *columns_of(sorted(keys), 2))
    found = [event_of(stored_event(row)) for row in rows]
    return {event.sequence: event for event in found}


class CausedEvents:
    """See `SystemEvents`; adds to each payload which run has caused the event.

    Args:
        depth: of the events: one more than that of the run.
    """

    def __init__(self, system_events: SystemEvents, run_id: str, depth: int) -> None:
        self._system_events = system_events
        self._cause = {"run_id": run_id, "depth": Number(depth)}

    async def insert(self, tx: Transaction, events: Any, now_us: int) -> None:
        caused = [
            SystemEvent(
                one.project_id,
                one.event,
                one.contact_id,
                json_of({**read_payload(one.payload), CAUSED_BY: self._cause}),
                one.lane,
            )
            for one in events
        ]
        await self._system_events.insert(tx, caused, now_us)
