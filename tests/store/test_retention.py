"""What retention finds due, and what it removes with it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from headrace.domain.events.event import NewEvent, Status
from headrace.domain.upkeep.retention import DAY_US, HOUR_US
from headrace.store.contract.retention import DueEvent, Removed, RetentionState
from headrace.store.events.event_removal import DELIVERIES_MAX
from tests.support.events import START_US, new_event
from tests.support.places import Place, SqlitePlace
from tests.support.retained import (
    add_dead_letter,
    add_delivery,
    add_everything,
    add_retry,
    add_work,
    counts,
    finished_event,
)
from tests.support.session import StoreSession
from tests.support.stored_rows import columns

NOW_US = START_US + 100 * DAY_US
CUTOFF_US = START_US + 1
LIMIT = 100


def due(session: StoreSession, after: int = 0, project_id: int = 1) -> list[int]:
    """Sequences that are due, by pages of two."""
    found = []
    while True:
        page = session.run(
            session.store.retention.find_due(project_id, CUTOFF_US, NOW_US, after, 2)
        )
        found += [event.sequence for event in page.due]
        after = page.position
        if page.end:
            return found


def remove(session: StoreSession, *events: NewEvent, project_id: int = 1) -> Removed:
    named = [DueEvent(event.lane, event.sequence, 0) for event in events]
    return session.run(session.store.retention.remove_events(project_id, named))


def test_finished_events_from_before_the_cutoff_are_due(session: StoreSession) -> None:
    old = [finished_event(session) for _ in range(5)]
    old.append(finished_event(session, status=Status.DEAD_LETTERED))
    finished_event(session, received_us=CUTOFF_US)

    assert due(session) == [event.sequence for event in old]


@pytest.mark.parametrize("status", [Status.ACCEPTED, Status.PROCESSING, Status.RETRYING])
def test_an_event_that_is_not_finished_is_never_due(session: StoreSession, status: Status) -> None:
    """Not even one that is missing in the queue: that is a bug, but no reason to lose it."""
    kept = finished_event(session, status=status)
    assert due(session) == []
    assert remove(session, kept) == Removed()
    assert counts(session.place)["events"] == 1


KEEPERS: dict[str, Callable[[Place, NewEvent], object]] = {
    "event_queue": add_work,
    "retry": add_retry,
    "pending": lambda place, event: add_delivery(place, event, 0),
    "delivering": lambda place, event: add_delivery(place, event, 1),
    "retrying": lambda place, event: add_delivery(place, event, 2),
    "open": lambda place, event: add_dead_letter(place, event, 0),
}


@pytest.mark.parametrize("keeper", KEEPERS)
def test_waiting_events_are_kept(session: StoreSession, keeper: str) -> None:
    kept, gone = finished_event(session), finished_event(session)
    KEEPERS[keeper](session.place, kept)
    before = counts(session.place)

    assert due(session) == [gone.sequence]
    removed = remove(session, kept, gone)

    assert (removed.events, removed.complete) == (1, True)
    after = counts(session.place)
    assert after["events"] == 1
    assert sum(before.values()) - sum(after.values()) == removed.rows
    assert session.stored_ids() == [kept.id]


def test_everything_about_an_event_is_removed_with_it_and_nothing_else(
    session: StoreSession,
) -> None:
    place = session.place
    kept = finished_event(session, key="kept")
    add_everything(place, kept)
    before = counts(place)
    gone = finished_event(session, key="gone")
    add_everything(place, gone)
    rows = sum(counts(place).values()) - sum(before.values())

    removed = remove(session, gone)

    assert counts(place) == before
    assert min(before.values()) > 0
    assert removed == Removed(events=1, dead_letters=1, rows=rows, complete=True)
    assert session.stored_ids() == [kept.id]


def test_the_key_of_a_removed_event_is_free(session: StoreSession) -> None:
    remove(session, finished_event(session, key="k"))
    assert session.accept(new_event(key="k")) == [None]


def test_event_of_another_project_is_kept(session: StoreSession) -> None:
    kept = finished_event(session, project_id=2)
    assert due(session) == []
    assert due(session, project_id=2) == [kept.sequence]
    assert remove(session, kept) == Removed()
    assert session.stored_ids() == [kept.id]


def test_removing_again_does_nothing(session: StoreSession) -> None:
    event = finished_event(session)
    remove(session, event)
    assert remove(session, event) == Removed()
    assert remove(session) == Removed()


def test_many_deliveries_take_several_transactions(session: StoreSession) -> None:
    """Each transaction is bounded; the event itself is removed last."""
    first, second = finished_event(session), finished_event(session)
    add_delivery(session.place, first, 3)
    _fill_deliveries(session.place, second, 2 * DELIVERIES_MAX + 10)

    steps: list[Removed] = []
    while not steps or not steps[-1].complete:
        steps.append(remove(session, first, second))

    assert [step.events for step in steps] == [1, 0, 1]
    assert max(step.rows for step in steps) <= 2 * DELIVERIES_MAX + 4
    assert set(counts(session.place).values()) == {0}


def _fill_deliveries(place: Place, event: NewEvent, count: int) -> None:
    """Copies of one row, each with an attempt."""
    add_delivery(place, event, 3, attempts=0)
    shared = sorted(columns(place, "deliveries") - {"number", "id"})
    place.run_sql(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
        f"INSERT INTO deliveries (number, id, {', '.join(shared)}) "
        f"SELECT 1000000 + i, 'x' || i, {', '.join(shared)} FROM deliveries, n "
        "WHERE number < 1000000 AND sequence = ?",
        count,
        event.sequence,
    )
    lane = "lane, " if "lane" in shared else ""
    place.run_sql(
        f"INSERT INTO delivery_attempts ({lane}delivery_number, number, at_us, duration_us) "
        f"SELECT {lane}number, 1, 0, 0 FROM deliveries WHERE number >= 1000000"
    )


def test_an_event_received_by_a_wrong_clock_hides_nothing(session: StoreSession) -> None:
    finished_event(session, received_us=NOW_US + 3650 * DAY_US)
    old = finished_event(session)
    assert due(session) == [old.sequence]


def test_scan_stops_at_the_first_event_that_is_not_due(session: StoreSession) -> None:
    old = finished_event(session)
    finished_event(session, received_us=CUTOFF_US)
    finished_event(session)

    page = session.run(session.store.retention.find_due(1, CUTOFF_US, NOW_US, 0, LIMIT))

    assert (page.position, page.received_us, page.end) == (old.sequence, START_US, True)


def test_size_of_a_payload_is_in_bytes(session: StoreSession) -> None:
    event = finished_event(session, payload='{"a": "é"}')
    page = session.run(session.store.retention.find_due(1, CUTOFF_US, NOW_US, 0, LIMIT))
    assert page.due == [DueEvent(event.lane, event.sequence, 11)]


@pytest.mark.parametrize("state", [0, 1, 2])
def test_dead_letters_expire_by_their_own_age(session: StoreSession, state: int) -> None:
    place, retention = session.place, session.store.retention
    event = finished_event(session, status=Status.DEAD_LETTERED)
    add_dead_letter(place, event, state, START_US)
    add_dead_letter(place, event, state, CUTOFF_US)
    other = finished_event(session, project_id=2)
    add_dead_letter(place, other, state, START_US)

    removed = session.run(retention.remove_dead_letters(1, CUTOFF_US, LIMIT))

    assert removed == Removed(dead_letters=1, rows=1, complete=True)
    assert (counts(place)["dead_letters"], counts(place)["events"]) == (2, 2)


def test_an_expired_dead_letter_frees_its_event(session: StoreSession) -> None:
    event = finished_event(session, status=Status.DEAD_LETTERED)
    add_dead_letter(session.place, event, 0)
    assert due(session) == []

    session.run(session.store.retention.remove_dead_letters(1, CUTOFF_US, LIMIT))

    assert due(session) == [event.sequence]


def test_dead_letters_are_removed_in_bounded_slices(session: StoreSession) -> None:
    event = finished_event(session)
    for _ in range(5):
        add_dead_letter(session.place, event, 0)
    retention = session.store.retention

    steps = [session.run(retention.remove_dead_letters(1, CUTOFF_US, 2)) for _ in range(4)]

    assert [(step.rows, step.complete) for step in steps] == [
        (2, False),
        (2, False),
        (1, True),
        (0, True),
    ]


def test_the_state_is_kept(session: StoreSession) -> None:
    retention = session.store.retention
    assert session.run(retention.state()) is None
    state = RetentionState(clock_us=NOW_US, at_us=NOW_US, events=3, seconds=0.5)

    session.run(retention.save(state))

    assert session.run(retention.state()) == state


def test_growth_is_sampled_once_an_hour_for_a_month(session: StoreSession) -> None:
    retention = session.store.retention
    for minutes in (0, 30, 60, 61, 40 * 24 * 60):
        at_us = NOW_US + minutes * 60_000_000
        session.run(retention.save(RetentionState(clock_us=at_us, at_us=at_us)))
        if minutes == 61:
            hours = [sample.hour for sample in session.run(retention.growth()).samples]
            assert hours == [NOW_US // HOUR_US, NOW_US // HOUR_US + 1]

    (last,) = session.run(retention.growth()).samples
    assert last.hour == NOW_US // HOUR_US + 40 * 24
    assert last.used_bytes > 0


def test_samples_of_a_clock_that_ran_ahead_are_dropped(session: StoreSession) -> None:
    retention = session.store.retention
    for at_us in (NOW_US + 3650 * DAY_US, NOW_US):
        session.run(retention.save(RetentionState(clock_us=at_us, at_us=at_us)))
    samples = session.run(retention.growth()).samples
    assert [sample.hour for sample in samples] == [NOW_US // HOUR_US]


def test_the_use_of_the_file_is_known_where_the_store_has_one(session: StoreSession) -> None:
    space = session.run(session.store.retention.space_use())
    assert (space is not None) == isinstance(session.place, SqlitePlace)
