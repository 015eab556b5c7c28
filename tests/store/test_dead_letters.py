"""Dead letters: listed, grouped, and closed once."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.domain.events.event import NewEvent, Status
from headrace.store.contract.dead_letters import (
    Closed,
    Closing,
    DeadLetter,
    DeadLetterFilter,
    DeadLetterKind,
    DeadLetterState,
)
from tests.support.dead_letters import DeadLetterRows, rows_in
from tests.support.events import START_US, new_event
from tests.support.session import StoreSession

NOW_US = START_US + 3600 * 1_000_000
ACTOR = "0123456789abcdef"
ALL = DeadLetterFilter()


@pytest.fixture
def rows(session: StoreSession) -> DeadLetterRows:
    return rows_in(session.place)


def accept(session: StoreSession, **changes: Any) -> NewEvent:
    event = new_event(**changes)
    assert session.accept(event) == [None]
    return event


def replay(session: StoreSession, dead_letter_id: str, project_id: int = 1) -> Closed:
    store = session.store.dead_letters
    return session.run(store.replay(project_id, dead_letter_id, NOW_US, actor=ACTOR))


def discard(session: StoreSession, dead_letter_id: str, reason: str = "a test") -> Closed:
    store = session.store.dead_letters
    return session.run(store.discard(1, dead_letter_id, reason, NOW_US, actor=ACTOR))


def listed(
    session: StoreSession, wanted: DeadLetterFilter = ALL, *, project_id: int = 1, limit: int = 200
) -> list[DeadLetter]:
    """All pages."""
    found: list[DeadLetter] = []
    before = None
    while True:
        page = session.run(
            session.store.dead_letters.list(project_id, wanted, before=before, limit=limit)
        )
        found += page.dead_letters
        before = page.next_before
        if before is None:
            return found


def audit(session: StoreSession) -> list[tuple[Any, ...]]:
    rows = session.place.run_sql(
        "SELECT actor, project_id, action, detail FROM audit WHERE action LIKE 'dead_letter.%'"
    )
    return [(*row[:3], json.loads(row[3])) for row in rows]


def test_open_dead_letter_is_listed_with_all_fields(
    session: StoreSession, rows: DeadLetterRows
) -> None:
    event = accept(session)
    subscriber = rows.subscriber(1)
    dead_letter_id = rows.delivery(event.sequence, subscriber, cause="server_error")

    [found] = listed(session)

    assert found == DeadLetter(
        number=found.number,
        id=dead_letter_id,
        event_id=event.id,
        event="order.completed",
        kind=DeadLetterKind.DELIVERY,
        subscriber_id=subscriber,
        cause="server_error",
        error="the receiver answered 400",
        attempts=3,
        first_failed_us=found.first_failed_us,
        dead_lettered_us=found.dead_lettered_us,
        state=DeadLetterState.OPEN,
    )


def test_lists_show_only_their_project(session: StoreSession, rows: DeadLetterRows) -> None:
    own = rows.processing(accept(session).sequence)
    rows.processing(accept(session, project_id=2).sequence)

    assert [found.id for found in listed(session)] == [own]


@pytest.fixture
def mixed(session: StoreSession, rows: DeadLetterRows) -> dict[str, str]:
    """Name to id."""
    first, second = rows.subscriber(1), rows.subscriber(1)
    order, cart = accept(session), accept(session, event="cart.left")
    return {
        "first": first,
        "second": second,
        "a": rows.processing(order.sequence),
        "b": rows.delivery(order.sequence, first),
        "c": rows.delivery(cart.sequence, first, cause="gone"),
        "d": rows.delivery(cart.sequence, second),
        "e": rows.delivery(accept(session).sequence, first),
    }


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, "edcba"),
        ({"event": "cart.left"}, "dc"),
        ({"subscriber_id": "first"}, "ecb"),
        ({"cause": "gone"}, "c"),
        ({"kind": DeadLetterKind.PROCESSING}, "a"),
        ({"kind": DeadLetterKind.DELIVERY, "event": "order.completed"}, "eb"),
        ({"cause": "gone", "subscriber_id": "second"}, ""),
        ({"cause": "' OR 1=1 --"}, ""),
    ],
)
@pytest.mark.parametrize("examined", [2, 20_000])
def test_filters_list_and_count_alike(
    session: StoreSession,
    mixed: dict[str, str],
    wanted: dict[str, Any],
    expected: str,
    examined: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("headrace.store.deliveries.dead_letters.EXAMINED_MAX", examined)
    if "subscriber_id" in wanted:
        wanted = wanted | {"subscriber_id": mixed[wanted["subscriber_id"]]}
    filtered = DeadLetterFilter(**wanted)

    for limit in (1, 2, 200):
        found = listed(session, filtered, limit=limit)
        assert [each.id for each in found] == [mixed[name] for name in expected]
    count, last = session.run(session.store.dead_letters.count(1, filtered))
    assert count == len(expected)
    assert last == listed(session)[0].number


@pytest.mark.parametrize("examined", [2, 20_000])
def test_groups_count_equal_failures(
    session: StoreSession,
    mixed: dict[str, str],
    examined: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("headrace.store.deliveries.dead_letters.EXAMINED_MAX", examined)
    times = {found.id: found.dead_lettered_us for found in listed(session)}

    groups = session.run(session.store.dead_letters.groups(1, ALL))

    assert len(groups) == 4
    [group] = [each for each in groups if each.count == 2]
    assert groups[0] is group
    assert (group.kind, group.subscriber_id, group.cause, group.event) == (
        DeadLetterKind.DELIVERY,
        mixed["first"],
        "rejected",
        "order.completed",
    )
    assert (group.first_us, group.last_us) == (times[mixed["b"]], times[mixed["e"]])


def test_an_empty_project_has_none(session: StoreSession) -> None:
    assert listed(session) == []
    assert session.run(session.store.dead_letters.groups(1, ALL)) == []
    assert session.run(session.store.dead_letters.count(1, ALL)) == (0, 0)


def test_replayed_event_is_queued_again(session: StoreSession, rows: DeadLetterRows) -> None:
    event = accept(session)
    dead_letter_id = rows.processing(event.sequence)

    closed = replay(session, dead_letter_id)

    assert closed.closing is Closing.DONE
    assert closed.dead_letter is not None
    assert closed.dead_letter.state is DeadLetterState.REPLAYED
    stored = session.run(session.store.events.get(1, event.id))
    assert stored is not None
    assert (stored.status, stored.attempts) == (Status.ACCEPTED, 0)
    assert rows.waits(event.sequence)
    assert session.stored_ids() == [event.id]
    assert listed(session) == []
    assert audit(session) == [(ACTOR, 1, "dead_letter.replay", {"dead_letter": dead_letter_id})]


def test_a_replayed_delivery_is_the_same_one(session: StoreSession, rows: DeadLetterRows) -> None:
    event = accept(session)
    failed, other = rows.subscriber(1), rows.subscriber(1)
    dead_letter_id = rows.delivery(event.sequence, failed)
    rows.delivery(event.sequence, other)
    before = session.place.run_sql("SELECT id, claims FROM deliveries ORDER BY number")

    assert replay(session, dead_letter_id).closing is Closing.DONE

    after = session.place.run_sql("SELECT id, claims FROM deliveries ORDER BY number")
    assert after == before
    states = session.place.run_sql(
        "SELECT state, attempt, crashes, due_us, owner, finished_us FROM deliveries ORDER BY number"
    )
    assert states[0] == (0, 0, 0, NOW_US, None, None)
    # Other deliveries are not changed.
    assert states[1][:2] == (4, 3)
    assert session.place.run_sql("SELECT count(*) FROM delivery_attempts") == [(6,)]


def test_the_second_replay_changes_nothing(session: StoreSession, rows: DeadLetterRows) -> None:
    event = accept(session)
    dead_letter_id = rows.processing(event.sequence)
    replay(session, dead_letter_id)
    session.place.run_sql("UPDATE event_queue SET attempt = 1, owner = 'a'")

    assert replay(session, dead_letter_id).closing is Closing.CLOSED_BEFORE
    assert discard(session, dead_letter_id).closing is Closing.CLOSED_BEFORE

    assert session.place.run_sql("SELECT attempt, owner FROM event_queue") == [(1, "a")]
    assert rows.state(dead_letter_id) == DeadLetterState.REPLAYED
    assert len(audit(session)) == 1


def test_repeated_failure_is_a_new_dead_letter(session: StoreSession, rows: DeadLetterRows) -> None:
    event = accept(session)
    first = rows.processing(event.sequence)
    replay(session, first)
    session.place.run_sql("DELETE FROM processing_attempts")
    second = rows.processing(event.sequence)

    assert [found.id for found in listed(session)] == [second]
    assert replay(session, second).closing is Closing.DONE
    assert rows.waits(event.sequence)


def test_discarded_event_stays_failed(session: StoreSession, rows: DeadLetterRows) -> None:
    event = accept(session)
    dead_letter_id = rows.processing(event.sequence)

    assert discard(session, dead_letter_id, "a duplicate").closing is Closing.DONE

    stored = session.run(session.store.events.get(1, event.id))
    assert stored is not None
    assert stored.status == Status.DEAD_LETTERED
    assert not rows.waits(event.sequence)
    assert replay(session, dead_letter_id).closing is Closing.CLOSED_BEFORE
    assert audit(session) == [
        (
            ACTOR,
            1,
            "dead_letter.discard",
            {"dead_letter": dead_letter_id, "reason": "a duplicate"},
        )
    ]


def test_delivery_without_a_recipient_stays_open(
    session: StoreSession, rows: DeadLetterRows
) -> None:
    event = accept(session)
    disabled, deleted = rows.subscriber(1, enabled=False), rows.subscriber(1)
    to_disabled = rows.delivery(event.sequence, disabled)
    to_deleted = rows.delivery(event.sequence, deleted)
    session.place.run_sql("DELETE FROM subscribers WHERE id = ?", deleted)

    assert replay(session, to_disabled).closing is Closing.SUBSCRIBER_DISABLED
    assert replay(session, to_deleted).closing is Closing.SUBSCRIBER_DELETED

    assert {found.id for found in listed(session)} == {to_disabled, to_deleted}
    assert session.place.run_sql("SELECT DISTINCT state FROM deliveries") == [(4,)]


def test_only_dead_lettered_events_can_be_replayed(
    session: StoreSession, rows: DeadLetterRows
) -> None:
    event = accept(session)
    dead_letter_id = rows.processing(event.sequence)
    rows.mark(event.sequence, Status.PROCESSED)

    assert replay(session, dead_letter_id).closing is Closing.NOTHING_TO_REPLAY

    assert rows.state(dead_letter_id) == DeadLetterState.OPEN
    assert not rows.waits(event.sequence)


def test_another_project_cannot_close_it(session: StoreSession, rows: DeadLetterRows) -> None:
    event = accept(session)
    dead_letter_id = rows.processing(event.sequence)

    assert replay(session, dead_letter_id, project_id=2).closing is Closing.NOT_FOUND
    assert replay(session, str(uuid.uuid4())).closing is Closing.NOT_FOUND

    assert rows.state(dead_letter_id) == DeadLetterState.OPEN


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=st.lists(st.sampled_from(["replay", "discard"]), min_size=1, max_size=6))
def test_only_the_first_transition_counts(
    session: StoreSession, rows: DeadLetterRows, moves: list[str]
) -> None:
    event = accept(session)
    dead_letter_id = rows.processing(event.sequence)

    closings = [
        (replay if move == "replay" else discard)(session, dead_letter_id).closing for move in moves
    ]

    assert closings == [Closing.DONE] + [Closing.CLOSED_BEFORE] * (len(moves) - 1)
    assert rows.waits(event.sequence) == (moves[0] == "replay")
