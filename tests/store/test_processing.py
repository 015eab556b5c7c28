"""Guarantees of the queue of accepted events: order, claims and recovery."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from headrace.domain.events.event import Source, Status
from headrace.store.contract.errors import LeadershipLostError
from headrace.store.contract.processing import (
    CLAIMED_CHARACTERS_MAX,
    DEATHS_MAX,
    Claimed,
    wait_after_death_us,
)
from tests.support.events import new_event
from tests.support.queue import LEADERSHIP_US, SECOND_US, Queue, sequences
from tests.support.session import StoreSession


@pytest.fixture
def queue(session: StoreSession) -> Queue:
    return Queue(session)


# Order


def test_claim_has_everything_that_processing_needs(queue: Queue) -> None:
    event = new_event(
        contact_id="c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10",
        email="mike@b.example",
        email_original="Mike@B.example",
        source=Source.BATCH,
    )
    queue.accept(event)
    assert list(queue.claim()) == [
        Claimed(
            sequence=event.sequence,
            id=event.id,
            project_id=1,
            lane=event.lane,
            event=event.event,
            contact_id=event.contact_id,
            external_id=event.external_id,
            email=event.email,
            email_original=event.email_original,
            occurred_us=event.occurred_us,
            received_us=event.received_us,
            source=Source.BATCH,
            attempt=1,
            crashes=0,
            payload=event.payload,
        )
    ]


def test_events_are_claimed_in_order_of_receipt(queue: Queue) -> None:
    accepted = queue.accept_many(20)
    assert sequences(queue.claim(limit=7)) == accepted[:7]
    assert sequences(queue.claim(limit=7)) == accepted[7:14]
    assert sequences(queue.claim(limit=7)) == accepted[14:]
    assert queue.claim(limit=7) == []


def test_claim_ends_with_the_payload_that_reaches_the_limit(queue: Queue) -> None:
    large = f'{{"text":"{"x" * (CLAIMED_CHARACTERS_MAX // 4)}"}}'
    accepted = queue.accept(*(new_event(payload=large, project_id=p) for p in (1, 1, 2, 2, 2, 2)))
    batch = queue.claim()
    assert [c.payload for c in batch] == [large] * 4
    assert sequences(batch) == accepted[:4]
    assert queue.process(batch) == (4, [])
    assert [(c.sequence, c.attempt) for c in queue.claim()] == [(s, 1) for s in accepted[4:]]


def test_an_empty_queue_gives_nothing(queue: Queue) -> None:
    assert queue.claim() == []


def test_backlog_of_one_project_does_not_block_another(queue: Queue) -> None:
    queue.accept_many(300, project_id=1)
    late = queue.accept_many(3, project_id=2)
    claimed = queue.claim(limit=10)
    assert Counter(c.project_id for c in claimed) == {1: 5, 2: 3}
    assert sequences(claimed)[5:] == late


def test_unused_share_of_a_project_goes_to_the_next(queue: Queue) -> None:
    queue.accept_many(3, project_id=1)
    queue.accept_many(300, project_id=2)
    assert Counter(c.project_id for c in queue.claim(limit=10)) == {1: 3, 2: 7}


@pytest.mark.parametrize("limit", [1, 9, 64, 256])
def test_however_many_projects_have_a_backlog_all_take_turns(queue: Queue, limit: int) -> None:
    projects = range(1, 71)
    queue.accept(*(new_event(project_id=p) for p in projects for _ in range(8)))
    served: set[int] = set()
    claimed = 0
    while len(served) < len(projects):
        batch = queue.claim(limit=limit)
        claimed += len(batch)
        served |= {c.project_id for c in batch}
        assert claimed <= max(len(projects) + limit, 2 * limit)


def test_a_project_number_is_only_a_number(queue: Queue) -> None:
    """Turns wrap around after the last project, whatever the numbers."""
    queue.accept(*(new_event(project_id=p) for p in (3, 900, 2**31 - 1) for _ in range(2)))
    served = [queue.claim(limit=1)[0].project_id for _ in range(6)]
    assert served == [3, 900, 2**31 - 1] * 2
    assert queue.claim(limit=1) == []


# A retry


def test_failed_event_leaves_the_queue_until_its_retry_is_due(queue: Queue) -> None:
    first, second, third = queue.accept_many(3)
    claimed = queue.claim(limit=1)[0]
    assert queue.fail(claimed, retry_in_s=5)
    assert queue.status(first) is Status.RETRYING
    assert queue.drain() == [second, third]
    queue.clock.now_us += 5 * SECOND_US - 1
    assert queue.claim() == []
    queue.clock.now_us += 1
    (again,) = queue.claim()
    assert (again.sequence, again.attempt, again.crashes) == (first, 2, 0)
    assert queue.process([again]) == (1, [])
    assert queue.status(first) is Status.PROCESSED


def test_due_retry_is_first_in_the_queue(queue: Queue) -> None:
    first, *others = queue.accept_many(4)
    queue.fail(queue.claim(limit=1)[0], retry_in_s=1)
    queue.clock.forward(1)
    assert queue.drain() == [first, *others]


def test_a_failure_is_recorded(queue: Queue) -> None:
    (sequence,) = queue.accept_many(1)
    for number in (1, 2, 3):
        (claimed,) = queue.claim()
        assert claimed.attempt == number
        assert queue.fail(claimed, retry_in_s=1, cause=f"Cause{number}", error=f"error {number}")
        assert queue.marks("attempts, last_error") == [(number, f"error {number}")]
        queue.clock.forward(1)
    at_us = queue.clock() - 3 * SECOND_US
    assert queue.attempts(sequence) == [
        (n, at_us + (n - 1) * SECOND_US, 1500, f"Cause{n}", f"error {n}") for n in (1, 2, 3)
    ]


def test_any_number_of_retries_can_be_due_at_once(queue: Queue) -> None:
    accepted = queue.accept_many(300)
    for claimed in queue.claim(limit=300):
        queue.fail(claimed, retry_in_s=1)
    queue.clock.forward(1)
    assert sorted(queue.drain()) == accepted


# A dead letter


def test_a_failure_without_a_retry_is_a_dead_letter(queue: Queue) -> None:
    (sequence,) = queue.accept_many(1)
    first_us = queue.clock()
    queue.fail(queue.claim()[0], retry_in_s=5)
    queue.clock.forward(5)
    assert queue.fail(queue.claim()[0], cause="BrokenRule", error="never")
    assert queue.status(sequence) is Status.DEAD_LETTERED
    rows = queue.sql(
        "SELECT project_id, sequence, event, kind, subscriber_id, delivery_number, cause, error, "
        "attempts, first_failed_us, dead_lettered_us, state FROM dead_letters"
    )
    assert rows == [
        (
            *(1, sequence, "order.completed", "processing", None, None, "BrokenRule", "never"),
            *(2, first_us, queue.clock(), 0),
        )
    ]
    queue.clock.forward(3600)
    assert queue.claim() == []


# Ownership of claims


def test_only_the_leader_claims(queue: Queue) -> None:
    queue.accept_many(1)
    with pytest.raises(LeadershipLostError):
        queue.claim("b")
    assert len(queue.claim("a")) == 1


def test_worker_that_lost_leadership_changes_nothing(queue: Queue) -> None:
    queue.accept_many(4)
    batch = queue.claim(limit=2)
    queue.clock.now_us += LEADERSHIP_US
    assert queue.acquire_leadership("b") == 2
    before = queue.everything()
    with pytest.raises(LeadershipLostError):
        queue.process(batch, claim_next=10)
    with pytest.raises(LeadershipLostError):
        queue.claim("a")
    with pytest.raises(LeadershipLostError):
        queue.rescue("a")
    assert not queue.fail(batch[0], retry_in_s=1)
    assert not queue.fail(batch[1])
    assert queue.everything() == before


def test_worker_that_returns_after_a_rescue_has_lost_its_claims(queue: Queue) -> None:
    first, second, third = queue.accept_many(3)
    old = queue.claim()
    queue.clock.now_us += LEADERSHIP_US
    queue.acquire_leadership("b")
    assert queue.rescue("b") == 3
    (suspect,) = queue.claim("b")
    queue.clock.now_us += LEADERSHIP_US
    # `b` stops, and `a` is leader again: its claims from the first time are lost.
    assert queue.acquire_leadership("a") == 3
    before = queue.everything()
    assert queue.process(old) == (0, [])
    assert not queue.fail(old[1], retry_in_s=1)
    assert queue.everything() == before
    assert queue.rescue("a") == 1
    before = queue.everything()
    assert queue.process([suspect]) == (0, [])
    assert queue.everything() == before
    queue.clock.now_us += wait_after_death_us(2)
    assert queue.drain() == [first, second, third]


def test_an_older_attempt_of_the_same_owner_changes_nothing(queue: Queue) -> None:
    queue.accept_many(2)
    old = queue.claim()
    assert queue.rescue() == 2
    assert queue.claim() == old
    queue.fail(old[0], retry_in_s=1)
    queue.clock.forward(1)
    again = queue.claim()
    assert sequences(again) == [old[0].sequence]
    before = queue.everything()
    assert queue.process([old[0]]) == (0, [])
    assert not queue.fail(old[0])
    assert queue.everything() == before
    assert queue.process([old[1], again[0]]) == (2, [])


def test_an_event_is_processed_once(queue: Queue) -> None:
    queue.accept_many(2)
    batch = queue.claim()
    assert queue.process(batch) == (2, [])
    before = queue.everything()
    queue.clock.forward(1)
    assert queue.process(batch) == (0, [])
    assert not queue.fail(batch[0], retry_in_s=1)
    assert queue.everything() == before


def test_claim_never_returns_events_that_the_owner_holds(queue: Queue) -> None:
    first, *others = queue.accept_many(5)
    queue.fail(queue.claim(limit=1)[0], retry_in_s=1)
    held = queue.claim(limit=2)
    queue.clock.forward(1)
    assert sequences(held) == others[:2]
    assert sequences(queue.claim()) == [first, *others[2:]]


# Crashes


def test_crash_is_counted_and_recorded(queue: Queue) -> None:
    first, second = queue.accept_many(2)
    queue.claim(limit=1)
    queue.clock.forward(1)
    assert queue.die_and_follow("a", "b") == 1
    assert queue.attempts(first) == [
        (1, queue.clock(), 0, "worker_died", "The worker that had the event died.")
    ]
    assert queue.attempts(second) == []
    (claimed,) = queue.claim("b")
    assert (claimed.sequence, claimed.attempt, claimed.crashes) == (first, 2, 1)


def test_event_of_a_crash_is_claimed_alone(queue: Queue) -> None:
    queue.accept_many(4, project_id=1)
    queue.accept_many(4, project_id=2)
    held = sequences(queue.claim(limit=4))
    queue.die_and_follow("a", "b")
    batches: list[list[int]] = []
    while batch := queue.claim("b"):
        assert len(batch) == 1 or not any(c.crashes for c in batch)
        queue.process(batch, owner="b")
        batches.append(sequences(batch))
    assert sorted(batch[0] for batch in batches if len(batch) == 1) == sorted(held)
    assert sum(map(len, batches)) == 8


def test_batch_ends_before_an_event_of_a_crash(queue: Queue) -> None:
    suspects = queue.accept_many(2, project_id=2)
    queue.claim()
    fresh = queue.accept_many(2, project_id=1)
    queue.die_and_follow("a", "b")
    batches = [sequences(queue.claim("b")) for _ in range(4)]
    assert batches == [fresh, suspects[:1], suspects[1:], []]


def test_suspects_of_one_project_block_no_other(queue: Queue) -> None:
    for project_id in (1, 2, 3):
        queue.accept_many(20, project_id=project_id)
    assert {c.project_id for c in queue.claim(limit=9)} == {1, 2, 3}
    queue.die_and_follow("a", "b")
    served: Counter[int] = Counter()
    for _ in range(9):
        served.update(c.project_id for c in queue.claim("b"))
    assert min(served[p] for p in (1, 2, 3)) >= 3


def test_third_death_makes_a_dead_letter(queue: Queue) -> None:
    """The others are processed before it: after the second one the event waits."""
    poison, good = queue.accept_many(2)
    first_us = queue.clock()
    owners = [f"w{number}" for number in range(DEATHS_MAX)]
    for number, (dying, following) in enumerate(pairwise(["a", *owners]), 1):
        (poisoned, *_) = sequences(queue.claim(dying))
        assert poisoned == poison
        queue.die_and_follow(dying, following)
        if number == 1:
            continue
        wait_us = wait_after_death_us(number)
        if number < DEATHS_MAX:
            assert queue.status(poison) is Status.RETRYING
            assert poison not in queue.drain(following)
            queue.clock.now_us += wait_us
    assert queue.status(poison) is Status.DEAD_LETTERED
    causes = [row[3] for row in queue.attempts(poison)]
    assert causes == ["worker_died"] * (DEATHS_MAX - 1) + ["poison"]
    rows = queue.sql("SELECT cause, attempts, first_failed_us, dead_lettered_us FROM dead_letters")
    assert rows == [("poison", DEATHS_MAX, first_us, queue.clock())]
    assert queue.drain(owners[-1]) == []
    assert queue.status(good) is Status.PROCESSED


def test_crash_count_survives_a_retry(queue: Queue) -> None:
    (sequence,) = queue.accept_many(1)
    queue.claim()
    queue.die_and_follow("a", "b")
    queue.fail(queue.claim("b")[0], owner="b", retry_in_s=1)
    queue.clock.forward(1)
    (claimed,) = queue.claim("b")
    assert (claimed.sequence, claimed.attempt, claimed.crashes) == (sequence, 3, 1)


def test_claims_that_the_owner_lost_track_of_are_uncounted(queue: Queue) -> None:
    (sequence,) = queue.accept_many(1)
    for _ in range(DEATHS_MAX + 1):
        (claimed,) = queue.claim()
        assert (claimed.attempt, claimed.crashes) == (1, 0)
        assert queue.rescue() == 1
    assert queue.attempts(sequence) == []
    assert queue.drain() == [sequence]


def test_rescue_runs_in_bounded_steps(queue: Queue) -> None:
    """However many claims a dead worker had, other events are claimed in the meantime."""
    held = queue.accept_many(300)
    assert len(queue.claim(limit=300)) == 300
    (ready,) = queue.accept_many(1, project_id=2)
    queue.dead.add("a")
    queue.acquire_leadership("b")
    assert [queue.rescue("b", 128) for _ in range(4)] == [128, 128, 44, 0]
    first, second = queue.claim("b"), queue.claim("b")
    assert ready in sequences(first) + sequences(second)
    queue.process([*first, *second], owner="b")
    assert sorted([*queue.drain("b"), *sequences(first), *sequences(second)]) == [*held, ready]


# A clean stop


def test_stop_releases_claims_uncounted(queue: Queue) -> None:
    accepted = queue.accept_many(3)
    queue.claim()
    assert queue.release() == 3
    assert queue.acquire_leadership("b") is not None
    claimed = queue.claim("b")
    assert sequences(claimed) == accepted
    assert {(c.attempt, c.crashes) for c in claimed} == {(1, 0)}
    assert queue.attempts(accepted[0]) == []


def test_stop_releases_only_its_own_claims(queue: Queue) -> None:
    queue.accept_many(3)
    queue.claim()
    before = queue.everything()
    assert queue.release("b") == 0
    assert queue.everything() == before
    assert queue.acquire_leadership("b") is None


# Leadership


def test_one_owner_at_a_time_leads(queue: Queue) -> None:
    assert queue.acquire_leadership("b") is None
    queue.clock.now_us += LEADERSHIP_US - 1
    assert queue.acquire_leadership("b") is None
    queue.clock.now_us += 1
    assert queue.acquire_leadership("b") == 2
    assert queue.acquire_leadership("a") is None


def test_renewed_leadership_keeps_its_epoch_and_lasts_longer(queue: Queue) -> None:
    for _ in range(3):
        queue.clock.now_us += LEADERSHIP_US - 1
        assert queue.acquire_leadership("a") == 1
    assert queue.acquire_leadership("b") is None


def test_expired_leadership_can_be_renewed_if_not_taken(queue: Queue) -> None:
    queue.clock.now_us += 10 * LEADERSHIP_US
    assert queue.acquire_leadership("a") == 1


def test_leadership_of_a_dead_owner_is_free_at_once(queue: Queue) -> None:
    queue.dead.add("a")
    assert queue.acquire_leadership("b") == 2


def test_epoch_grows_over_a_clean_stop(queue: Queue) -> None:
    queue.release("a")
    assert queue.acquire_leadership("b") == 2
    queue.release("b")
    assert queue.acquire_leadership("b") == 3


def test_leaderships_are_independent(queue: Queue) -> None:
    take = queue.store.acquire_leadership
    assert queue.session.run(take("retention", "b", LEADERSHIP_US)) == 1
    assert queue.session.run(take("retention", "a", LEADERSHIP_US)) is None
    queue.release("b")
    assert queue.session.run(take("retention", "a", LEADERSHIP_US)) == 2
    assert queue.acquire_leadership("b") is None


# Statistics


def test_statistics_count_waiting_events_and_their_age(queue: Queue) -> None:
    empty = queue.stats()
    assert (empty.ready, empty.retrying, empty.oldest_us) == (0, 0, None)
    times = [queue.clock() - n * SECOND_US for n in (7, 3, 5)]
    queue.accept(
        *(new_event(project_id=number, received_us=at_us) for number, at_us in enumerate(times, 1))
    )
    waiting = queue.stats()
    assert (waiting.ready, waiting.retrying, waiting.oldest_us) == (3, 0, min(times))
    queue.fail(queue.claim(limit=1)[0], retry_in_s=5)
    assert (queue.stats().ready, queue.stats().retrying) == (2, 1)
    assert queue.stats().oldest_us == times[2]
