"""Work that is held after a restore, and what releasing it does to each kind of it."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.store.deliveries.held_work import HeldCounts, Overdue
from tests.support.events import new_event
from tests.support.places import Place
from tests.support.retained import add_delivery, finished_event
from tests.support.session import StoreSession
from tests.support.stored_rows import insert

#: The hold begins here; what was due earlier is in doubt.
HELD_US = 1_000_000
EARLIER, LATER = HELD_US - 1, HELD_US + 1
RELEASED_US = HELD_US + 500


def add_message(place: Place, name: str, **values: Any) -> None:
    row = {"lane": 1, "id": name, "project_id": 1, "channel": "mail", "kind": "transactional"}
    row |= {"state": "queued", "due_us": EARLIER, "first_due_us": 1, "created_us": 1}
    insert(place, "messages", **row | values)


def add_notification(place: Place, name: str, **values: Any) -> None:
    row = {"lane": 1, "id": name, "project_id": 1, "app_id": "a", "platform": "web"}
    insert(place, "push_notifications", **row | {"state": "queued", "created_us": 1} | values)


def add_job(place: Place, table: str, name: str, due_us: int) -> None:
    row: dict[str, Any] = {"number": due_us, "id": name, "project_id": 1, "audiences": "[]"}
    row |= {"excluded": "[]", "total": 1, "status": "running", "actor": "a", "due_us": due_us}
    insert(place, table, **row, created_us=1, updated_us=1)


def rows(place: Place, table: str, columns: str) -> dict[Any, tuple[Any, ...]]:
    found = place.run_sql(f"SELECT id, {columns} FROM {table}")
    return {row[0]: tuple(row[1:]) for row in found}


@pytest.fixture
def filled(place: Place, session: StoreSession) -> Place:
    """Work of each kind that was due before the hold, and that is due later."""
    session.run(session.store.held_work.hold(HELD_US, actor="test"))
    event = finished_event(session)
    numbers = {name: add_delivery(place, event, 0) for name in ("waiting", "claimed", "later")}
    place.run_sql("UPDATE deliveries SET due_us = ?", EARLIER)
    place.run_sql("UPDATE deliveries SET due_us = ? WHERE number = ?", LATER, numbers["later"])
    place.run_sql(
        "UPDATE deliveries SET state = 1, owner = 'gone', lease_until_us = ?, due_us = ? "
        "WHERE number = ?",
        *(LATER, LATER, numbers["claimed"]),
    )
    add_message(place, "mail")
    add_message(place, "begun", state="sending", due_us=None, owner="gone", lease_until_us=LATER)
    add_message(place, "later", state="deferred", due_us=LATER)
    add_message(place, "sent", state="sent", due_us=None)
    add_message(place, "push", channel="push")
    add_notification(place, "of push", message_id="push")
    add_notification(place, "direct", due_us=EARLIER)
    add_notification(place, "direct later", due_us=LATER)
    for table in ("send_jobs", "push_jobs"):
        add_job(place, table, "early", EARLIER)
        add_job(place, table, "late", LATER)
    session.accept(new_event(key="not processed"))
    return place


def counted(session: StoreSession) -> HeldCounts:
    held = session.run(session.store.held_work.get())
    assert held is not None
    assert held.held_us == HELD_US
    return session.run(session.store.held_work.counts(held))


def release(session: StoreSession, overdue: Overdue) -> bool:
    work = session.store.held_work
    found = HeldCounts(events=0, deliveries=0, mails=0, pushes=0, runs=0, jobs=0)
    return session.run(work.release(overdue, found, RELEASED_US, actor="test"))


def test_what_was_due_is_counted(session: StoreSession, filled: Place) -> None:
    del filled
    assert counted(session) == HeldCounts(events=1, deliveries=2, mails=2, pushes=2, runs=0, jobs=2)


def test_skipped_work_is_kept_for_a_person(session: StoreSession, filled: Place) -> None:
    assert release(session, Overdue.SKIP)
    assert rows(filled, "messages", "state, reason, due_us, lease_until_us") == {
        "mail": ("unknown", "restored", None, 0),
        "begun": ("unknown", "restored", None, 0),
        "later": ("deferred", None, LATER, 0),
        "sent": ("sent", None, None, 0),
        "push": ("expired", "restored", None, 0),
    }
    assert rows(filled, "push_notifications", "state, reason, due_us, finished_us") == {
        "of push": ("expired", "restored", None, RELEASED_US),
        "direct": ("expired", "restored", None, RELEASED_US),
        "direct later": ("queued", None, LATER, None),
    }
    assert rows(filled, "send_jobs", "status") == {"early": ("paused",), "late": ("running",)}
    assert rows(filled, "push_jobs", "status") == {"early": ("stopped",), "late": ("running",)}
    states = filled.run_sql("SELECT state, due_us FROM deliveries ORDER BY state")
    assert [state for state, _ in states] == [0, 4, 4]
    assert states[0][1] == LATER
    causes = filled.run_sql("SELECT kind, cause, state FROM dead_letters")
    assert [tuple(row) for row in causes] == [("delivery", "restored", 0)] * 2
    # Events are processed in any case.
    assert filled.run_sql("SELECT count(*) FROM event_queue")[0][0] == 1
    assert session.run(session.store.held_work.get()) is None


def test_running_it_changes_nothing_but_the_hold(session: StoreSession, filled: Place) -> None:
    before = [rows(filled, table, "state") for table in ("messages", "deliveries")]
    assert release(session, Overdue.RUN)
    assert [rows(filled, table, "state") for table in ("messages", "deliveries")] == before
    assert session.run(session.store.held_work.get()) is None
    assert not release(session, Overdue.RUN)
    found = filled.run_sql("SELECT action FROM audit WHERE action LIKE 'work.%' ORDER BY id")
    assert [action for (action,) in found] == ["work.held", "work.released"]


def test_late_sends_of_runs_are_skipped(session: StoreSession, place: Place) -> None:
    """Those that a run reaches before the hold; an automation that holds its runs decides later."""
    session.run(session.store.held_work.hold(HELD_US, actor="test"))
    row: dict[str, Any] = {"project_id": 1, "updated_us": 1, "draft": "{}", "draft_revision": 1}
    automations = (
        *(("active", "active", None), ("drained", "paused", "drain")),
        *(("held", "paused", "hold"), ("draft", "draft", None)),
    )
    for number, (name, status, mode) in enumerate(automations):
        named = {"id": name, "name": name, "description": "", "created_us": number}
        insert(place, "automations", **row, **named, status=status, pause_mode=mode)
    assert release(session, Overdue.SKIP)
    assert rows(place, "automations", "overdue, overdue_before_us") == {
        "active": ("skip_sends", HELD_US),
        "drained": ("skip_sends", HELD_US),
        "held": (None, None),
        "draft": (None, None),
    }


def test_a_hold_is_not_begun_twice(session: StoreSession) -> None:
    work = session.store.held_work
    first = session.run(work.hold(HELD_US, actor="test"))
    assert session.run(work.hold(LATER, actor="test")) == first
