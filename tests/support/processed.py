"""Marks events as processed, without a worker."""

from __future__ import annotations

from headrace.domain.events.event import NewEvent, Status
from headrace.store.queues.sqlite.parts import PART_OF_EVENT
from tests.support.dead_letters import DeadLetterRows
from tests.support.places import SqlitePlace
from tests.support.session import StoreSession


def settle(session: StoreSession, rows: DeadLetterRows, event: NewEvent) -> None:
    """Let an accepted event be processed, with no deliveries."""
    run_sql = session.place.run_sql
    run_sql("DELETE FROM event_queue WHERE sequence = ?", event.sequence)
    rows.mark(event.sequence, Status.PROCESSED)
    if isinstance(session.place, SqlitePlace):
        run_sql(f"UPDATE events SET part = {PART_OF_EVENT} WHERE sequence = ?", event.sequence)
