"""What a worker knows of the line, and what it finds although it knows better."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.store.postgres import PostgresStore
from headrace.store.queues.postgres.queue_cursor import (
    COMMIT_US_MAX,
    COSTLY_SECONDS,
    FAR_LOOK_SECONDS,
    FORGET_SECONDS,
    LATE_US,
    LATE_US_MAX,
    LOOK_AROUND_SECONDS,
    NUMBERED_US,
    PROJECTS_MAX,
    QUIET_SECONDS,
    SETTLE_SECONDS,
    QueueCursor,
)
from tests.store.places import PostgresPlace
from tests.store.session import StoreSession
from tests.support.queue import Queue, mark_only, postgres_processing, sequences

NOW_US = 1_800_000_000_000_000


class Seconds:
    """A clock that nobody sets but the test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def line(seconds: Seconds) -> QueueCursor:
    """Every transaction that began until now has ended."""
    made = QueueCursor(seconds)
    made.settle(NOW_US + NUMBERED_US, 1, 2)
    made.settle(NOW_US, 2, 2)
    made.begin(NOW_US)
    return made


def test_a_claim_begins_where_the_last_one_ended(line: QueueCursor) -> None:
    line.add([1])
    assert line.bound_us(1) == 0
    line.looked(1, NOW_US - 5 * LATE_US, NOW_US)
    assert line.bound_us(1) == NOW_US - 5 * LATE_US


@pytest.mark.parametrize("last_us", [None, NOW_US - 1, NOW_US + LATE_US])
def test_what_may_still_be_under_way_is_looked_at_again(
    line: QueueCursor, last_us: int | None
) -> None:
    line.add([1])
    line.looked(1, last_us, NOW_US)
    assert line.bound_us(1) == NOW_US - LATE_US


def test_a_claim_does_not_begin_behind_a_transaction_under_way(line: QueueCursor) -> None:
    """Transaction 7 began at NOW_US and is over 9 s later."""
    line.add([1])
    line.settle(NOW_US, 5, 8)
    for seconds in (5, 9):
        now_us = NOW_US + seconds * 1_000_000
        line.settle(now_us, 7, 20 + seconds)
        line.looked(1, None, now_us)
        assert line.bound_us(1) == NOW_US - NUMBERED_US
    later_us = NOW_US + 10_000_000
    line.settle(later_us, 29, 29)
    line.settle(later_us, 29, 29)
    line.looked(1, None, later_us)
    assert line.bound_us(1) == later_us - LATE_US


def test_a_transaction_that_stays_open_moves_no_claim_back_for_ever(line: QueueCursor) -> None:
    line.add([1])
    now_us = NOW_US
    for number in range(8, 100):
        now_us += 1_000_000
        line.settle(now_us, 1, number)
        line.looked(1, None, now_us)
        assert line.bound_us(1) >= now_us - COMMIT_US_MAX


def test_transactions_are_looked_at_now_and_then(line: QueueCursor, seconds: Seconds) -> None:
    assert not line.settle_due()
    seconds.now += SETTLE_SECONDS
    assert line.settle_due()


def test_now_and_then_a_look_goes_far_back(line: QueueCursor, seconds: Seconds) -> None:
    line.add([1])
    line.looked(1, None, NOW_US)
    seconds.now += FAR_LOOK_SECONDS - 0.1
    line.begin(NOW_US)
    assert line.bound_us(1) == NOW_US - LATE_US
    seconds.now += 0.1
    line.begin(NOW_US)
    assert line.bound_us(1) == NOW_US - LATE_US_MAX


def test_a_costly_look_is_not_repeated_at_once(line: QueueCursor, seconds: Seconds) -> None:
    line.took(COSTLY_SECONDS)
    assert line.may_look_around()
    line.took(2.0)
    assert not line.may_look_around()
    seconds.now += 19.0
    assert not line.look_around_due()
    seconds.now += 1.0
    assert line.look_around_due()


def test_others_are_looked_for_while_the_known_have_work(
    line: QueueCursor, seconds: Seconds
) -> None:
    assert line.look_around_due()
    line.looked_around()
    assert not line.look_around_due()
    assert line.may_look_around()
    seconds.now += LOOK_AROUND_SECONDS
    assert line.look_around_due()


def test_who_is_quiet_is_asked_together_with_the_unknown(
    line: QueueCursor, seconds: Seconds
) -> None:
    line.add([1, 5])
    line.looked(1, NOW_US - 5 * LATE_US, NOW_US)
    seconds.now += QUIET_SECONDS + 0.1
    line.add([5])
    assert line.in_turn() == [5]
    lows, starts, highs = line.ranges(all_known=False)
    assert (lows, highs) == ([-1, 1, 5], [1, 5, 2**31])
    assert starts == [2**63 - 1, NOW_US - 5 * LATE_US - 1, 2**63 - 1]
    assert line.ranges(all_known=True)[1][2] == -1
    seconds.now += FORGET_SECONDS + 0.1
    line.looked_around()
    assert line.ranges(all_known=True)[0] == [-1]


def test_turns_go_round(line: QueueCursor) -> None:
    line.add([3, 1, 2])
    orders = []
    for _ in range(4):
        orders.append(line.in_turn())
        line.served(orders[-1][0])
    assert orders == [[1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 2, 3]]


def test_what_was_undone_was_never_known(line: QueueCursor) -> None:
    line.add([1])
    saved = line.save()
    line.looked(1, NOW_US - 5 * LATE_US, NOW_US)
    line.add([2])
    line.restore(saved)
    assert line.bound_us(1) == 0
    assert line.in_turn() == [1]


def test_no_more_projects_are_known_than_there_is_room_for(line: QueueCursor) -> None:
    line.add(range(PROJECTS_MAX + 10))
    assert len(line.in_turn()) == PROJECTS_MAX


# In the store


@pytest.fixture
def queue(tmp_path: Path, seconds: Seconds) -> Iterator[Queue]:
    place = PostgresPlace(tmp_path)
    session = StoreSession(place)
    made = Queue(session, first_owner=None)
    assert isinstance(session.store, PostgresStore)
    made.store = postgres_processing(session.store, made.clock, made.dead, seconds)
    made.acquire_leadership("a", 3600 * 1_000_000)
    yield made
    session.close()
    place.remove()


def test_what_comes_late_is_found(queue: Queue, seconds: Seconds) -> None:
    """Its transaction was under way for longer than any claim looks back at once."""
    accepted = queue.accept_many(3)
    assert sequences(queue.claim()) == accepted
    late = queue.accept_many(1)
    queue.sql(
        "UPDATE event_queue SET queued_us = queued_us - ? WHERE sequence = ?", 30_000_000, late[0]
    )
    assert queue.claim() == []
    seconds.now += FAR_LOOK_SECONDS
    assert sequences(queue.claim()) == late


def test_what_a_failed_batch_would_have_claimed_is_claimed_after_it(queue: Queue) -> None:
    first, *others = queue.accept_many(20)
    batch = queue.claim(limit=1)

    class OwnFaultError(Exception):
        pass

    def raise_late(*_: object) -> None:
        raise OwnFaultError

    with pytest.MonkeyPatch.context() as patch:
        # After the next claim.
        patch.setattr("headrace.store.queues.postgres.processing.add_rollups", raise_late)
        with pytest.raises(OwnFaultError):
            queue.process(batch, mark_only, claim_next=10)
    done, claimed = queue.process(batch, mark_only, claim_next=10)
    assert (batch[0].sequence, done) == (first, 1)
    assert sequences(claimed) == others[:10]


def test_a_new_project_is_seen_beside_a_backlog(queue: Queue, seconds: Seconds) -> None:
    queue.accept_many(100, project_id=7)
    assert {c.project_id for c in queue.claim(limit=10)} == {7}
    for project_id in (3, 9):
        queue.accept_many(1, project_id=project_id)
    seconds.now += LOOK_AROUND_SECONDS
    assert {c.project_id for c in queue.claim(limit=10)} == {3, 7, 9}


def test_what_a_costly_look_has_found_is_claimed_at_once(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = queue.accept_many(3)
    took = QueueCursor.took

    def took_long(line: QueueCursor, _: float) -> None:
        took(line, 100.0)

    monkeypatch.setattr(QueueCursor, "took", took_long)
    assert sequences(queue.claim()) == accepted
    later = queue.accept_many(1)
    assert sequences(queue.claim()) == later


def test_a_quiet_project_is_seen_again(queue: Queue, seconds: Seconds) -> None:
    for pause_s in (QUIET_SECONDS + 1, FORGET_SECONDS + 1, QUIET_SECONDS + 1):
        accepted = queue.accept_many(2, project_id=7)
        assert sequences(queue.claim()) == accepted
        seconds.now += pause_s
        assert queue.claim() == []
