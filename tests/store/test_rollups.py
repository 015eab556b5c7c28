"""Counters by minute, hour and day."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from headrace.domain.events.event import Source
from headrace.domain.upkeep.rollups import (
    BUCKETS,
    DAY_S,
    GRAINS,
    HOUR_S,
    KEPT_S,
    MINUTE_S,
    Outcome,
    Tally,
    bucket_of,
)
from headrace.store.contract.rollups import Counted, RollupRow
from tests.support.cataloguing import Cataloguing
from tests.support.events import START_US
from tests.support.queue import Queue
from tests.support.session import StoreSession

SECOND_US = 1_000_000
START_S = START_US // SECOND_US


def counted(outcome: Outcome, at_us: int, *, subject: str = "", project_id: int = 1) -> Counted:
    tally = Tally()
    tally.counts[outcome] = 1
    return Counted(project_id, subject, at_us, tally)


def read(session: StoreSession, grain_s: int, project_id: int = 1) -> Sequence[RollupRow]:
    return session.run(session.store.rollups.read(project_id, grain_s, 0, 2**31 - 1))


def totals(session: StoreSession, project_id: int = 1) -> dict[Outcome, int]:
    """Counts of outcomes."""
    rows = read(session, DAY_S, project_id)
    sums = {outcome: sum(row.tally.count(outcome) for row in rows) for outcome in Outcome}
    return {outcome: count for outcome, count in sums.items() if count}


def test_what_is_added_is_in_every_grain(session: StoreSession) -> None:
    slow = Tally()
    slow.observe_accept(2_000)
    for addition in (
        [counted(Outcome.REJECTED, START_US), Counted(1, "", START_US + 61 * SECOND_US, slow)],
        [counted(Outcome.REJECTED, START_US + SECOND_US), counted(Outcome.RETRIED, START_US)],
    ):
        session.run(session.store.rollups.add(addition))
    minutes = read(session, MINUTE_S)
    assert [row.at - START_S // MINUTE_S for row in minutes] == [0, 1]
    assert minutes[0].tally.count(Outcome.REJECTED) == 2
    assert minutes[0].tally.accept is None
    (hour,) = read(session, HOUR_S)
    (day,) = read(session, DAY_S)
    expected = [0] * BUCKETS
    expected[bucket_of(2_000)] = 1
    for row in (hour, day):
        assert row.tally.count(Outcome.REJECTED) == 2
        assert row.tally.count(Outcome.RETRIED) == 1
        assert row.tally.accept == expected


def test_projects_and_subscribers_are_counted_separately(session: StoreSession) -> None:
    additions = [
        counted(Outcome.DELIVERED, START_US, subject="a"),
        counted(Outcome.DELIVERED, START_US + 3600 * SECOND_US, subject="a"),
        counted(Outcome.ATTEMPT_FAILED, START_US, subject="b"),
        counted(Outcome.DELIVERED, START_US, project_id=2),
    ]
    session.run(session.store.rollups.add(additions))
    assert read(session, HOUR_S) == []
    first = START_S // HOUR_S
    rows = session.run(session.store.rollups.subscribers(1, HOUR_S, first, first + 1))
    found = {row.subject: row.tally for row in rows}
    assert found["a"].count(Outcome.DELIVERED) == 2
    assert found["b"].count(Outcome.ATTEMPT_FAILED) == 1
    assert len(found) == 2
    (now,) = session.run(session.store.rollups.subscribers(1, HOUR_S, first + 1, first + 1))
    assert now.tally.count(Outcome.DELIVERED) == 1


@pytest.mark.parametrize("grain_s", GRAINS)
def test_each_grain_is_kept_for_its_time(session: StoreSession, grain_s: int) -> None:
    session.run(session.store.rollups.add([counted(Outcome.REJECTED, START_US)]))
    store = session.store.rollups
    kept_us = KEPT_S[grain_s] * SECOND_US
    session.run(store.prune(START_US + kept_us, 10))
    assert len(read(session, grain_s)) == 1
    session.run(store.prune(START_US + kept_us + 2 * grain_s * SECOND_US, 10))
    assert read(session, grain_s) == []


def test_pruning_runs_in_steps(session: StoreSession) -> None:
    additions = [counted(Outcome.REJECTED, START_US + n * 60 * SECOND_US) for n in range(5)]
    session.run(session.store.rollups.add(additions))
    now_us = START_US + 3 * DAY_S * SECOND_US
    removed = [session.run(session.store.rollups.prune(now_us, 2)) for _ in range(4)]
    assert removed == [2, 2, 1, 0]


def test_processing_counts_in_its_transaction(session: StoreSession) -> None:
    catalog = Cataloguing(session)
    catalog.sent({}, {}, {}, source=Source.BATCH)
    # Three events of one new person, and one system event about the contact.
    assert totals(session) == {Outcome.PROCESSED: 4, Outcome.ACCEPTED_SYSTEM: 1}
    assert sum(sum(row.tally.processing or ()) for row in read(session, DAY_S)) == 4


def test_failures_of_processing_are_counted(session: StoreSession) -> None:
    queue = Queue(session)
    queue.accept_many(2)
    first, second = queue.claim()
    queue.fail(first, retry_in_s=5)
    queue.fail(second)
    assert totals(session) == {Outcome.RETRIED: 1, Outcome.DEAD_LETTERED: 1}
