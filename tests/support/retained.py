"""Events with all rows that refer to them, for retention."""

from __future__ import annotations

import itertools
from typing import Any

from headrace.domain.events.event import NewEvent, Status
from tests.support.events import START_US, new_event
from tests.support.places import Place
from tests.support.session import StoreSession
from tests.support.stored_rows import columns, insert

#: Tables with rows about an event, except its own; only one store has the last two.
SATELLITES = (
    "duplicate_requests",
    "processing_attempts",
    "contact_conflicts",
    "deliveries",
    "delivery_attempts",
    "dead_letters",
    "event_states",
    "recent_keys",
)
_MARK = "UPDATE events SET status = ?, part = 1 WHERE sequence BETWEEN ? AND ?"
_MARK_APART = (
    "INSERT INTO event_states (lane, sequence, project_id, status, attempts) "
    "SELECT lane, sequence, project_id, ?, 0 FROM events WHERE sequence BETWEEN ? AND ?"
)
_numbers = itertools.count(1)


def finished_event(
    session: StoreSession, *, status: Status = Status.PROCESSED, **changes: Any
) -> NewEvent:
    """An accepted event whose processing is complete."""
    return finished_events(session, 1, status=status, **changes)[0]


def finished_events(
    session: StoreSession, count: int, *, status: Status = Status.PROCESSED, **changes: Any
) -> list[NewEvent]:
    """Several of them, received together."""
    events = [new_event(**{"received_us": START_US, **changes}) for _ in range(count)]
    session.accept(*events)
    place, span = session.place, (events[0].sequence, events[-1].sequence)
    place.run_sql("DELETE FROM event_queue WHERE sequence BETWEEN ? AND ?", *span)
    place.run_sql(_MARK_APART if columns(place, "event_states") else _MARK, int(status), *span)
    return events


def add_work(place: Place, event: NewEvent) -> None:
    _about(place, "event_queue", event, project_id=event.project_id, due_us=0, queued_us=0)


def add_retry(place: Place, event: NewEvent) -> None:
    _about(
        place, "event_retries", event, project_id=event.project_id, due_us=0, attempt=1, crashes=0
    )


def add_delivery(place: Place, event: NewEvent, state: int, attempts: int = 1) -> int:
    """A delivery in that state; returns its number."""
    number = next(_numbers)
    _about(
        place,
        "deliveries",
        event,
        number=number,
        id=f"d{number}",
        project_id=event.project_id,
        subscriber_id="s",
        state=state,
        due_us=0,
        created_us=0,
    )
    for attempt in range(attempts):
        insert(
            place,
            "delivery_attempts",
            lane=event.lane,
            delivery_number=number,
            number=attempt,
            at_us=0,
            duration_us=0,
        )
    return number


def add_dead_letter(
    place: Place, event: NewEvent, state: int, dead_lettered_us: int = START_US
) -> int:
    """A dead letter in that state; returns its number."""
    number = next(_numbers)
    _about(
        place,
        "dead_letters",
        event,
        number=number,
        id=f"l{number}",
        project_id=event.project_id,
        event="a.b",
        kind="processing",
        cause="c",
        error="e",
        attempts=1,
        first_failed_us=0,
        dead_lettered_us=dead_lettered_us,
        state=state,
    )
    return number


def add_everything(place: Place, event: NewEvent) -> None:
    """Insert a row in each satellite table, none of which keeps the event."""
    _about(place, "duplicate_requests", event, number=1, at_us=0, mismatch=False)
    _about(
        place, "processing_attempts", event, number=1, at_us=0, duration_us=0, cause="c", error="e"
    )
    _about(
        place,
        "contact_conflicts",
        event,
        number=next(_numbers),
        project_id=event.project_id,
        contact_id="a",
        other_contact_id="b",
        field="email",
        at_us=0,
    )
    add_delivery(place, event, 3)
    add_delivery(place, event, 4, attempts=2)
    add_dead_letter(place, event, 1)


def _about(place: Place, table: str, about: NewEvent, **values: Any) -> None:
    insert(place, table, **{"lane": about.lane, "sequence": about.sequence, **values})


def counts(place: Place) -> dict[str, int]:
    """Rows in the satellite tables that this store has, and events."""
    return {
        table: place.run_sql(f"SELECT count(*) FROM {table}")[0][0]
        for table in ("events", *SATELLITES)
        if columns(place, table)
    }
