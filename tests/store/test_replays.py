"""Replays of many dead letters: durable, in slices, each dead letter once."""

from __future__ import annotations

import json
import uuid
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.domain.events.event import Status
from headrace.store.contract.dead_letters import (
    RUNNING_MAX,
    DeadLetterFilter,
    DeadLetterKind,
    DeadLetterState,
    NewReplay,
    Replay,
    ReplayStatus,
    TooManyReplaysError,
)
from tests.support.dead_letters import DeadLetterRows, rows_in
from tests.support.events import START_US, new_event
from tests.support.places import PLACES
from tests.support.session import StoreSession

NOW_US = START_US + 3600 * 1_000_000
ACTOR = "0123456789abcdef"
ALL = DeadLetterFilter()


@pytest.fixture
def rows(session: StoreSession) -> DeadLetterRows:
    return rows_in(session.place)


def dead_events(
    session: StoreSession, rows: DeadLetterRows, count: int, **changes: Any
) -> list[str]:
    """Ids of that many new dead letters, the oldest first."""
    events = [new_event(**changes) for _ in range(count)]
    assert session.accept(*events) == [None] * count
    return [rows.processing(event.sequence, attempts=1) for event in events]


def create(session: StoreSession, wanted: DeadLetterFilter = ALL, project_id: int = 1) -> Replay:
    async def work() -> Replay:
        total, last = await session.store.dead_letters.count(project_id, wanted)
        new = NewReplay(
            id=str(uuid.uuid4()),
            project_id=project_id,
            wanted=wanted,
            per_second=50,
            total=total,
            last_number=last,
            actor=ACTOR,
        )
        return await session.store.replays.create(new, NOW_US)

    return session.run(work())


def advance(session: StoreSession, replay: Replay, limit: int = 100) -> tuple[int, bool]:
    return session.run(session.store.replays.advance(replay.id, limit, NOW_US))


def get(session: StoreSession, replay: Replay) -> Replay:
    found = session.run(session.store.replays.get(replay.project_id, replay.id))
    assert found is not None
    return found


def finish(session: StoreSession, replay: Replay, limit: int = 100) -> int:
    """Advance to the end; returns how many were replayed on the way."""
    replayed = 0
    for _ in range(1000):
        count, goes_on = advance(session, replay, limit)
        replayed += count
        if not goes_on:
            return replayed
    raise AssertionError


def test_replay_covers_everything_that_matched(session: StoreSession, rows: DeadLetterRows) -> None:
    wanted = dead_events(session, rows, 3)
    others = dead_events(session, rows, 2, event="cart.left")
    strangers = dead_events(session, rows, 2, project_id=2)

    replay = create(session, DeadLetterFilter(event="order.completed"))
    assert (replay.status, replay.total, replay.done) == (ReplayStatus.RUNNING, 3, 0)
    assert finish(session, replay, limit=2) == 3

    assert get(session, replay).status is ReplayStatus.DONE
    assert get(session, replay).done == 3
    assert [rows.state(each) for each in wanted] == [DeadLetterState.REPLAYED] * 3
    assert {rows.state(each) for each in others + strangers} == {DeadLetterState.OPEN}
    closed = session.place.run_sql(
        "SELECT DISTINCT closed_by, reason, closed_us FROM dead_letters WHERE state = 1"
    )
    assert closed == [(ACTOR, f"replay {replay.id}", NOW_US)]


def test_later_failures_are_not_part_of_it(session: StoreSession, rows: DeadLetterRows) -> None:
    dead_events(session, rows, 2)
    replay = create(session)
    later = dead_events(session, rows, 1)

    assert finish(session, replay) == 2
    assert rows.state(later[0]) == DeadLetterState.OPEN


def test_immediate_new_failure_is_not_replayed_for_ever(
    session: StoreSession, rows: DeadLetterRows
) -> None:
    dead_events(session, rows, 2)
    replay = create(session)
    assert advance(session, replay, 1) == (1, True)
    [[sequence]] = session.place.run_sql("SELECT sequence FROM event_queue")
    session.place.run_sql("DELETE FROM processing_attempts")
    again = rows.processing(sequence)

    assert finish(session, replay, 1) == 1
    assert rows.state(again) == DeadLetterState.OPEN


@pytest.mark.parametrize("is_passed", [True, False], ids=["passed", "not passed"])
def test_dead_letter_that_commits_late_stays_open_or_is_counted(
    session: StoreSession, rows: DeadLetterRows, *, is_passed: bool
) -> None:
    """On PostgreSQL it can have a number that the replay has passed already.

    It was no part of what the replay was made of: it stays open, and the next replay takes it.
    """
    first, late, last = dead_events(session, rows, 3)
    place = session.place
    # Nobody sees what is not committed.
    place.run_sql("UPDATE dead_letters SET project_id = 99 WHERE id = ?", late)
    replay = create(session)
    assert replay.total == 2
    advance(session, replay, 2 if is_passed else 1)
    place.run_sql("UPDATE dead_letters SET project_id = 1 WHERE id = ?", late)
    finish(session, replay)

    found = get(session, replay)
    assert (found.status, found.total, found.done) == (
        ReplayStatus.DONE,
        *((2, 2) if is_passed else (3, 3)),
    )
    assert [rows.state(each) for each in (first, late, last)] == [1, not is_passed, 1]
    if is_passed:
        assert finish(session, create(session)) == 1
        assert rows.state(late) == DeadLetterState.REPLAYED


def test_empty_replay_is_done_at_once(session: StoreSession) -> None:
    replay = create(session)

    assert (replay.status, replay.total) == (ReplayStatus.DONE, 0)
    assert advance(session, replay) == (0, False)
    assert session.run(session.store.replays.running(10)) == []


def test_dead_letters_closed_by_others_are_not_counted(
    session: StoreSession, rows: DeadLetterRows
) -> None:
    ids = dead_events(session, rows, 3)
    replay = create(session)
    dead_letters = session.store.dead_letters
    session.run(dead_letters.replay(1, ids[0], NOW_US, actor="somebody"))
    session.run(dead_letters.discard(1, ids[1], "why not", NOW_US, actor="somebody"))

    assert finish(session, replay) == 1
    assert (get(session, replay).done, get(session, replay).total) == (1, 3)
    assert [rows.state(each) for each in ids] == [1, 2, 1]


def test_deliveries_without_an_enabled_subscriber_stay_open(
    session: StoreSession, rows: DeadLetterRows
) -> None:
    event = new_event()
    session.accept(event)
    ids = [
        rows.delivery(event.sequence, rows.subscriber(1, enabled=enabled))
        for enabled in (True, False, True)
    ]
    replay = create(session, DeadLetterFilter(kind=DeadLetterKind.DELIVERY))

    assert finish(session, replay, limit=1) == 2
    assert [rows.state(each) for each in ids] == [1, 0, 1]
    assert session.place.run_sql("SELECT state FROM deliveries ORDER BY number") == [
        (0,),
        (4,),
        (0,),
    ]


def test_stopped_replay_does_not_continue(session: StoreSession, rows: DeadLetterRows) -> None:
    dead_events(session, rows, 3)
    replay = create(session)
    advance(session, replay, 1)
    store = session.store.replays

    stopped, found = session.run(store.stop(1, replay.id, NOW_US, actor=ACTOR))

    assert stopped
    assert found is not None
    assert (found.status, found.done, found.total) == (ReplayStatus.STOPPED, 1, 3)
    assert advance(session, replay) == (0, False)
    assert session.run(store.stop(1, replay.id, NOW_US, actor=ACTOR)) == (False, found)
    assert session.run(store.stop(2, replay.id, NOW_US, actor=ACTOR)) == (False, None)
    assert session.run(store.running(10)) == []


def test_it_is_audited(session: StoreSession, rows: DeadLetterRows) -> None:
    dead_events(session, rows, 2)
    wanted = DeadLetterFilter(event="order.completed", kind=DeadLetterKind.PROCESSING)
    replay = create(session, wanted)
    finish(session, replay)

    found = session.place.run_sql(
        "SELECT actor, action, detail FROM audit WHERE action LIKE 'replay.%' ORDER BY id"
    )
    assert [(actor, action) for actor, action, _ in found] == [
        (ACTOR, "replay.create"),
        (ACTOR, "replay.done"),
    ]
    assert json.loads(found[0][2]) == {
        "replay": replay.id,
        "filter": {"event": "order.completed", "kind": "processing"},
        "total": 2,
        "per_second": 50,
    }
    assert json.loads(found[1][2]) == {"replay": replay.id, "done": 2, "total": 2}


def test_concurrent_replays_are_limited(session: StoreSession, rows: DeadLetterRows) -> None:
    dead_events(session, rows, 1)
    dead_events(session, rows, 1, project_id=2)
    running = [create(session) for _ in range(RUNNING_MAX)]

    with pytest.raises(TooManyReplaysError):
        create(session)
    create(session, project_id=2)
    finish(session, running[-1])
    assert create(session).status is ReplayStatus.DONE


def test_old_replays_are_removed_but_never_running_ones(
    session: StoreSession, rows: DeadLetterRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.store.deliveries.replays.REPLAYS_KEPT", 3)
    dead_events(session, rows, 1)
    running = create(session)
    stranger = create(session, project_id=2)
    ended = [create(session, DeadLetterFilter(cause="none")) for _ in range(5)]

    found = session.run(session.store.replays.list(1, before=None, limit=50))

    assert [replay.id for replay in found] == [
        *(replay.id for replay in reversed(ended[-3:])),
        running.id,
    ]
    assert session.run(session.store.replays.get(2, stranger.id)) == stranger
    below = session.run(session.store.replays.list(1, before=found[1].number, limit=1))
    assert below == [found[2]]


def test_slice_examines_a_bounded_number(
    session: StoreSession, rows: DeadLetterRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.store.deliveries.replays._SLICE_EXAMINED_MAX", 2)
    dead_events(session, rows, 5, event="cart.left")
    wanted = dead_events(session, rows, 1)
    replay = create(session, DeadLetterFilter(event="order.completed"))

    assert [advance(session, replay) for _ in range(3)] == [(0, True), (0, True), (1, False)]
    assert rows.state(wanted[0]) == DeadLetterState.REPLAYED


@settings(
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    kinds=st.lists(st.sampled_from(["event", "delivery", "other", "disabled"]), max_size=12),
    limits=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    closes=st.lists(st.booleans(), min_size=1, max_size=4),
    discarded=st.sets(st.integers(0, 11), max_size=2),
)
def test_each_dead_letter_is_replayed_once_despite_interruptions(
    store_kind: str,
    tmp_path_factory: pytest.TempPathFactory,
    kinds: list[str],
    limits: list[int],
    closes: list[bool],
    discarded: set[int],
) -> None:
    """Slices of any size, the store reopened between them, and others closing some."""
    place = PLACES[store_kind](tmp_path_factory.mktemp("replays"))
    session = StoreSession(place)
    rows = rows_in(place)
    try:
        ids = [_dead(session, rows, kind) for kind in kinds]
        replay = create(session, DeadLetterFilter(event="order.completed"))
        chosen = {number for number in discarded if number < len(ids)}
        for number in chosen:
            session.run(
                session.store.dead_letters.discard(1, ids[number], "a", NOW_US, actor=ACTOR)
            )
        expected = [
            number
            for number, kind in enumerate(kinds)
            if kind in ("event", "delivery") and number not in chosen
        ]
        done, goes_on, step = 0, True, 0
        while goes_on:
            if closes[step % len(closes)]:
                session.close()
                session = StoreSession(place)
            count, goes_on = advance(session, replay, limits[step % len(limits)])
            done, step = done + count, step + 1
        assert done == get(session, replay).done == len(expected)
        replayed = [n for n, each in enumerate(ids) if rows.state(each) == 1]
        assert replayed == expected
        events = sum(kinds[number] == "event" for number in expected)
        assert place.run_sql("SELECT count(*) FROM event_queue WHERE attempt = 0") == [(events,)]
        pending = place.run_sql("SELECT count(*) FROM deliveries WHERE state = 0")
        assert pending == [(len(expected) - events,)]
    finally:
        session.close()


def _dead(session: StoreSession, rows: DeadLetterRows, kind: str) -> str:
    event = new_event(event="cart.left" if kind == "other" else "order.completed")
    session.accept(event)
    if kind in ("event", "other"):
        return rows.processing(event.sequence, attempts=1)
    rows.run_sql("DELETE FROM event_queue WHERE sequence = ?", event.sequence)
    subscriber = rows.subscriber(1, enabled=kind == "delivery")
    return rows.delivery(event.sequence, subscriber, attempts=1)


def test_outcome_says_what_failed_again(session: StoreSession, rows: DeadLetterRows) -> None:
    webhook = rows.subscriber(1)
    events = [new_event() for _ in range(4)]
    session.accept(*events)
    for event in events[:3]:
        rows.delivery(event.sequence, webhook)
    rows.processing(events[3].sequence)
    replay = create(session)

    def outcome() -> tuple[int, int, int]:
        found = session.run(session.store.replays.outcome(replay))
        return found.succeeded, found.failed_again, found.pending

    assert outcome() == (0, 0, 0)
    advance(session, replay)
    assert outcome() == (0, 0, 4)
    for event, state in zip(events[:2], (3, 4), strict=True):
        rows.run_sql("UPDATE deliveries SET state = ? WHERE sequence = ?", state, event.sequence)
    rows.mark(events[3].sequence, Status.DEAD_LETTERED)
    assert outcome() == (1, 2, 1)
    other = session.run(
        session.store.replays.outcome(msgspec.structs.replace(replay, project_id=2))
    )
    assert (other.succeeded, other.failed_again, other.pending) == (0, 0, 0)
