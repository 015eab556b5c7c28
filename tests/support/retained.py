"""Events with all that hangs on them, as retention meets them."""

from __future__ import annotations

import itertools
from typing import Any

from headrace.domain.events import NewEvent, Status
from tests.store.events import START_US, new_event
from tests.store.places import Place
from tests.store.session import StoreSession

#: Tables with rows about an event, its own apart.
SATELLITES = (
    "key_repeats",
    "processing_attempts",
    "contact_conflicts",
    "deliveries",
    "delivery_attempts",
    "dead_letters",
)
_numbers = itertools.count(1)


def finished_event(
    session: StoreSession, *, status: Status = Status.PROCESSED, **changes: Any
) -> NewEvent:
    """An accepted event whose work is done."""
    return finished_events(session, 1, status=status, **changes)[0]


def finished_events(
    session: StoreSession, count: int, *, status: Status = Status.PROCESSED, **changes: Any
) -> list[NewEvent]:
    """Several of them, received together."""
    events = [new_event(**{"received_us": START_US, **changes}) for _ in range(count)]
    session.accept(*events)
    span = (events[0].sequence, events[-1].sequence)
    session.place.run_sql("DELETE FROM work WHERE sequence BETWEEN ? AND ?", *span)
    session.place.run_sql(
        "UPDATE events SET status = ? WHERE sequence BETWEEN ? AND ?", status.value, *span
    )
    return events


def add_work(place: Place, event: NewEvent) -> None:
    place.run_sql(
        "INSERT INTO work (project_id, sequence, lane, due_us) VALUES (?, ?, 0, 0)",
        event.project_id,
        event.sequence,
    )


def add_retry(place: Place, event: NewEvent) -> None:
    place.run_sql(
        "INSERT INTO work_retries (sequence, project_id, lane, due_us, attempt, crashes) "
        "VALUES (?, ?, 0, 0, 1, 0)",
        event.sequence,
        event.project_id,
    )


def add_delivery(place: Place, event: NewEvent, state: int, attempts: int = 1) -> int:
    """A delivery in that state; returns its number."""
    number = next(_numbers)
    place.run_sql(
        "INSERT INTO deliveries (number, id, project_id, sequence, subscriber_id, state, due_us, "
        "created_us) VALUES (?1, 'd' || ?1, ?2, ?3, 's', ?4, 0, 0)",
        number,
        event.project_id,
        event.sequence,
        state,
    )
    for attempt in range(attempts):
        place.run_sql(
            "INSERT INTO delivery_attempts (delivery_number, number, at_us, duration_us) "
            "VALUES (?, ?, 0, 0)",
            number,
            attempt,
        )
    return number


def add_dead_letter(
    place: Place, event: NewEvent, state: int, dead_lettered_us: int = START_US
) -> int:
    """A dead letter in that state; returns its number."""
    number = next(_numbers)
    place.run_sql(
        "INSERT INTO dead_letters (number, id, project_id, sequence, event, kind, cause, error, "
        "attempts, first_failed_us, dead_lettered_us, state) "
        "VALUES (?1, 'l' || ?1, ?2, ?3, 'a.b', 'processing', 'c', 'e', 1, 0, ?4, ?5)",
        number,
        event.project_id,
        event.sequence,
        dead_lettered_us,
        state,
    )
    return number


def add_everything(place: Place, event: NewEvent) -> None:
    """A row in each satellite table, none of which keeps the event."""
    place.run_sql(
        "INSERT INTO key_repeats (sequence, number, at_us, mismatch) VALUES (?, 1, 0, 0)",
        event.sequence,
    )
    place.run_sql(
        "INSERT INTO processing_attempts (sequence, number, at_us, duration_us, cause, error) "
        "VALUES (?, 1, 0, 0, 'c', 'e')",
        event.sequence,
    )
    place.run_sql(
        "INSERT INTO contact_conflicts (project_id, sequence, contact_id, other_contact_id, field, "
        "at_us) VALUES (?, ?, 'a', 'b', 'email', 0)",
        event.project_id,
        event.sequence,
    )
    add_delivery(place, event, 3)
    add_delivery(place, event, 4, attempts=2)
    add_dead_letter(place, event, 1)


def counts(place: Place) -> dict[str, int]:
    """Rows in the satellite tables, and events."""
    return {
        table: place.run_sql(f"SELECT count(*) FROM {table}")[0][0]  # noqa: S608
        for table in ("events", *SATELLITES)
    }
