"""What a worker knows of the queue, and which events it finds all the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.store.postgres import PostgresStore
from headrace.store.queues.postgres.queue_cursor import (
    COMMIT_US_MAX,
    COSTLY_SECONDS,
    FAR_SCAN_SECONDS,
    FORGET_SECONDS,
    LATE_US,
    LATE_US_MAX,
    NUMBERED_US,
    PROJECT_SCAN_SECONDS,
    PROJECTS_MAX,
    QUIET_SECONDS,
    SETTLE_SECONDS,
    QueueCursor,
)
from tests.support.places import PostgresPlace
from tests.support.queue import Queue, mark_only, postgres_processing, sequences
from tests.support.session import StoreSession

NOW_US = 1_800_000_000_000_000


class Seconds:
    """A clock that only the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def cursor(seconds: Seconds) -> QueueCursor:
    """Every transaction that began before now has ended."""
    made = QueueCursor(seconds)
    made.settle(NOW_US + NUMBERED_US, 1, 2)
    made.settle(NOW_US, 2, 2)
    made.begin(NOW_US)
    return made


def test_claim_begins_where_the_last_one_ended(cursor: QueueCursor) -> None:
    cursor.add([1])
    assert cursor.bound_us(1) == 0
    cursor.scanned(1, NOW_US - 5 * LATE_US, NOW_US)
    assert cursor.bound_us(1) == NOW_US - 5 * LATE_US


@pytest.mark.parametrize("last_us", [None, NOW_US - 1, NOW_US + LATE_US])
def test_claim_rescans_what_may_be_in_progress(cursor: QueueCursor, last_us: int | None) -> None:
    cursor.add([1])
    cursor.scanned(1, last_us, NOW_US)
    assert cursor.bound_us(1) == NOW_US - LATE_US


def test_claim_does_not_begin_behind_a_transaction_in_progress(cursor: QueueCursor) -> None:
    """Transaction 7 began at NOW_US and has ended 9 s later."""
    cursor.add([1])
    cursor.settle(NOW_US, 5, 8)
    for seconds in (5, 9):
        now_us = NOW_US + seconds * 1_000_000
        cursor.settle(now_us, 7, 20 + seconds)
        cursor.scanned(1, None, now_us)
        assert cursor.bound_us(1) == NOW_US - NUMBERED_US
    later_us = NOW_US + 10_000_000
    cursor.settle(later_us, 29, 29)
    cursor.settle(later_us, 29, 29)
    cursor.scanned(1, None, later_us)
    assert cursor.bound_us(1) == later_us - LATE_US


def test_open_transaction_holds_claims_back_for_a_limited_time(cursor: QueueCursor) -> None:
    cursor.add([1])
    now_us = NOW_US
    for number in range(8, 100):
        now_us += 1_000_000
        cursor.settle(now_us, 1, number)
        cursor.scanned(1, None, now_us)
        assert cursor.bound_us(1) >= now_us - COMMIT_US_MAX


def test_transactions_in_progress_are_read_now_and_then(
    cursor: QueueCursor, seconds: Seconds
) -> None:
    assert not cursor.settle_due()
    seconds.now += SETTLE_SECONDS
    assert cursor.settle_due()


def test_some_scans_go_far_back(cursor: QueueCursor, seconds: Seconds) -> None:
    cursor.add([1])
    cursor.scanned(1, None, NOW_US)
    seconds.now += FAR_SCAN_SECONDS - 0.1
    cursor.begin(NOW_US)
    assert cursor.bound_us(1) == NOW_US - LATE_US
    seconds.now += 0.1
    cursor.begin(NOW_US)
    assert cursor.bound_us(1) == NOW_US - LATE_US_MAX


def test_slow_scan_is_not_repeated_at_once(cursor: QueueCursor, seconds: Seconds) -> None:
    cursor.note_duration(COSTLY_SECONDS)
    assert cursor.may_scan_projects()
    cursor.note_duration(2.0)
    assert not cursor.may_scan_projects()
    seconds.now += 19.0
    assert not cursor.project_scan_due()
    seconds.now += 1.0
    assert cursor.project_scan_due()


def test_other_projects_are_scanned_for_while_known_ones_have_work(
    cursor: QueueCursor, seconds: Seconds
) -> None:
    assert cursor.project_scan_due()
    cursor.note_project_scan()
    assert not cursor.project_scan_due()
    assert cursor.may_scan_projects()
    seconds.now += PROJECT_SCAN_SECONDS
    assert cursor.project_scan_due()


def test_quiet_projects_are_scanned_with_unknown_ones(
    cursor: QueueCursor, seconds: Seconds
) -> None:
    cursor.add([1, 5])
    cursor.scanned(1, NOW_US - 5 * LATE_US, NOW_US)
    seconds.now += QUIET_SECONDS + 0.1
    cursor.add([5])
    assert cursor.in_turn() == [5]
    lows, starts, highs = cursor.ranges(all_known=False)
    assert (lows, highs) == ([-1, 1, 5], [1, 5, 2**31])
    assert starts == [2**63 - 1, NOW_US - 5 * LATE_US - 1, 2**63 - 1]
    assert cursor.ranges(all_known=True)[1][2] == -1
    seconds.now += FORGET_SECONDS + 0.1
    cursor.note_project_scan()
    assert cursor.ranges(all_known=True)[0] == [-1]


def test_projects_take_turns(cursor: QueueCursor) -> None:
    cursor.add([3, 1, 2])
    orders = []
    for _ in range(4):
        orders.append(cursor.in_turn())
        cursor.note_served(orders[-1][0])
    assert orders == [[1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 2, 3]]


def test_restore_forgets_a_rolled_back_scan(cursor: QueueCursor) -> None:
    cursor.add([1])
    saved = cursor.save()
    cursor.scanned(1, NOW_US - 5 * LATE_US, NOW_US)
    cursor.add([2])
    cursor.restore(saved)
    assert cursor.bound_us(1) == 0
    assert cursor.in_turn() == [1]


def test_number_of_known_projects_is_limited(cursor: QueueCursor) -> None:
    cursor.add(range(PROJECTS_MAX + 10))
    assert len(cursor.in_turn()) == PROJECTS_MAX


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


def test_late_event_is_found(queue: Queue, seconds: Seconds) -> None:
    """Its transaction was in progress for longer than an ordinary claim looks back."""
    accepted = queue.accept_many(3)
    assert sequences(queue.claim()) == accepted
    late = queue.accept_many(1)
    queue.sql(
        "UPDATE event_queue SET queued_us = queued_us - ? WHERE sequence = ?", 30_000_000, late[0]
    )
    assert queue.claim() == []
    seconds.now += FAR_SCAN_SECONDS
    assert sequences(queue.claim()) == late


def test_events_claimed_by_a_failed_batch_are_claimed_later(queue: Queue) -> None:
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


def test_new_project_is_found_despite_a_backlog(queue: Queue, seconds: Seconds) -> None:
    queue.accept_many(100, project_id=7)
    assert {c.project_id for c in queue.claim(limit=10)} == {7}
    for project_id in (3, 9):
        queue.accept_many(1, project_id=project_id)
    seconds.now += PROJECT_SCAN_SECONDS
    assert {c.project_id for c in queue.claim(limit=10)} == {3, 7, 9}


def test_events_found_by_a_slow_scan_are_claimed_at_once(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = queue.accept_many(3)
    note_duration = QueueCursor.note_duration

    def note_long_duration(cursor: QueueCursor, _: float) -> None:
        note_duration(cursor, 100.0)

    monkeypatch.setattr(QueueCursor, "note_duration", note_long_duration)
    assert sequences(queue.claim()) == accepted
    later = queue.accept_many(1)
    assert sequences(queue.claim()) == later


def test_quiet_project_is_found_again(queue: Queue, seconds: Seconds) -> None:
    for pause_s in (QUIET_SECONDS + 1, FORGET_SECONDS + 1, QUIET_SECONDS + 1):
        accepted = queue.accept_many(2, project_id=7)
        assert sequences(queue.claim()) == accepted
        seconds.now += pause_s
        assert queue.claim() == []
