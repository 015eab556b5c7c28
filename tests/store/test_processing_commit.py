"""A batch commits with all of its decisions, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from headrace.domain.events.event import Source, Status
from headrace.store.contract.errors import StoreRowError, SubscribersChangedError
from headrace.store.contract.processing import (
    BatchPlan,
    Claimed,
    ConflictFound,
    ContactCreated,
    Done,
    FindContact,
    NewDelivery,
    SystemEvent,
)
from tests.support.dead_letters import DeadLetterRows
from tests.support.queue import Queue, mark_only, sequences
from tests.support.session import StoreSession

ANN, BOB = "0a7e5a3e-0000-4000-8000-000000000001", "0a7e5a3e-0000-4000-8000-000000000002"
SUBSCRIBER = "0a7e5a3e-0000-4000-8000-000000000009"


@pytest.fixture
def queue(session: StoreSession) -> Queue:
    return Queue(session)


def everything(batch: Sequence[Claimed], find: FindContact) -> BatchPlan:
    """A plan with a write of each kind."""
    del find
    first, last = batch[0], batch[-1]
    payload = json.dumps({"contact_id": ANN, "source": "event"})
    return BatchPlan(
        done=[
            Done(c.sequence, 1, c.attempt, ANN, f'{{"n": {n}}}', c.lane)
            for n, c in enumerate(batch)
        ],
        contacts_created={
            ANN: ContactCreated(ANN, 1, "ann", "ann@b.example", "Ann@B.example"),
            BOB: ContactCreated(BOB, 1, None, "bob@b.example", "Bob@B.example"),
        },
        conflicts=[
            ConflictFound(1, last.sequence, ANN, BOB, "email", lane=last.lane, event_id=last.id)
        ],
        system_events=[SystemEvent(1, "sendrealm.contact.created", ANN, payload, 77)],
        deliveries=[
            NewDelivery(f"delivery-{c.sequence}", 1, c.sequence, SUBSCRIBER, c.lane) for c in batch
        ]
        if first is not last
        else [],
    )


def test_all_decisions_are_written(queue: Queue) -> None:
    first, second = queue.accept_many(2)
    assert queue.process(queue.claim(), everything) == (2, [])
    now_us = queue.clock()
    assert queue.marks("status, attempts, contact_id, resolution, processed_us") == [
        (Status.PROCESSED, 1, ANN, f'{{"n": {n}}}', now_us) for n in (0, 1)
    ]
    assert queue.sql(
        "SELECT id, project_id, external_id, email, email_original, properties, created_us, "
        "updated_us FROM contacts ORDER BY id"
    ) == [
        (ANN, 1, "ann", "ann@b.example", "Ann@B.example", "{}", now_us, now_us),
        (BOB, 1, None, "bob@b.example", "Bob@B.example", "{}", now_us, now_us),
    ]
    assert queue.sql(
        "SELECT project_id, sequence, contact_id, other_contact_id, field, at_us "
        "FROM contact_conflicts"
    ) == [(1, second, ANN, BOB, "email", now_us)]
    assert queue.sql(
        "SELECT id, project_id, sequence, subscriber_id, state, attempt, due_us, created_us "
        "FROM deliveries ORDER BY sequence"
    ) == [
        (f"delivery-{sequence}", 1, sequence, SUBSCRIBER, 0, 0, now_us, now_us)
        for sequence in (first, second)
    ]


def test_a_system_event_is_an_event_like_any_other(queue: Queue) -> None:
    queue.accept_many(1)
    queue.process(queue.claim(), everything)
    (claimed,) = queue.claim()
    assert (claimed.event, claimed.contact_id) == ("sendrealm.contact.created", ANN)
    assert (claimed.source, claimed.lane, claimed.attempt) == (Source.SYSTEM, 77, 1)
    assert claimed.external_id is None
    assert claimed.email is None
    assert claimed.received_us == claimed.occurred_us == queue.clock()
    stored = queue.session.run(queue.session.store.events.get(1, claimed.id))
    assert stored is not None
    assert json.loads(stored.payload) == {"contact_id": ANN, "source": "event"}
    assert queue.process([claimed]) == (1, [])
    assert queue.claim() == []


def test_many_system_events_of_one_moment_are_all_stored(queue: Queue) -> None:
    """Numbers are assigned under the write lock; a clock that steps back finds them taken."""
    ""

    def many(batch: Sequence[Claimed], find: FindContact) -> BatchPlan:
        plan = mark_only(batch, find)
        plan.system_events = [
            SystemEvent(1, "sendrealm.contact.updated", ANN, f'{{"n":{n}}}', n % 256)
            for n in range(300)
        ]
        return plan

    for step_s in (0, 0.001, -0.001):
        queue.clock.forward(step_s)
        queue.accept_many(1)
        queue.process([c for c in queue.claim() if c.source != Source.SYSTEM], many)
    rows = queue.sql("SELECT id, sequence FROM events WHERE source = ?", Source.SYSTEM)
    assert len({row[0] for row in rows}) == len({row[1] for row in rows}) == 900
    # Accepting continues in parallel.
    queue.accept_many(3)


def test_the_next_batch_is_claimed_in_the_same_transaction(queue: Queue) -> None:
    accepted = queue.accept_many(5)
    done, following = queue.process(queue.claim(limit=2), claim_next=2)
    assert done == 2
    assert sequences(following) == accepted[2:4]
    done, following = queue.process(following, claim_next=2)
    assert sequences(following) == accepted[4:]
    assert queue.process(following, claim_next=2) == (1, [])


def test_lost_claims_are_not_planned(queue: Queue) -> None:
    first, second, third = queue.accept_many(3)
    batch = queue.claim()
    queue.fail(batch[1], retry_in_s=60)
    planned: list[int] = []

    def plan(mine: Sequence[Claimed], find: FindContact) -> BatchPlan:
        planned.extend(sequences(mine))
        return mark_only(mine, find)

    assert queue.process(batch, plan) == (2, [])
    assert planned == [first, third]
    assert queue.status(second) is Status.RETRYING


def refused_delivery(batch: Sequence[Claimed], find: FindContact) -> BatchPlan:
    plan = everything(batch, find)
    nobody: Any = None
    plan.deliveries.append(NewDelivery("d", 1, batch[0].sequence, nobody, batch[0].lane))
    return plan


def refused_contact(batch: Sequence[Claimed], find: FindContact) -> BatchPlan:
    plan = everything(batch, find)
    plan.contacts_created[SUBSCRIBER] = ContactCreated(SUBSCRIBER, 1, "ann", None, None)
    return plan


def refused_text(batch: Sequence[Claimed], find: FindContact) -> BatchPlan:
    plan = everything(batch, find)
    plan.done[-1] = Done(batch[-1].sequence, 1, 1, ANN, "\ud800", batch[-1].lane)
    return plan


@pytest.mark.parametrize("plan", [refused_delivery, refused_contact, refused_text])
def test_rejected_row_rolls_back_the_whole_batch(
    queue: Queue, plan: Callable[[Sequence[Claimed], FindContact], BatchPlan]
) -> None:
    queue.accept_many(4)
    batch = queue.claim(limit=3)
    before = queue.everything()
    with pytest.raises(StoreRowError):
        queue.process(batch, plan, claim_next=10)
    assert queue.everything() == before
    # The claims still hold.
    assert queue.process(batch) == (3, [])


def test_planner_that_raises_rolls_back_the_whole_batch(queue: Queue) -> None:
    class OwnFaultError(Exception):
        pass

    def plan(batch: Sequence[Claimed], find: FindContact) -> BatchPlan:
        raise OwnFaultError(batch, find)

    queue.accept_many(3)
    batch = queue.claim()
    before = queue.everything()
    with pytest.raises(OwnFaultError):
        queue.process(batch, plan)
    assert queue.everything() == before
    assert queue.process(batch) == (3, [])


def test_event_never_misses_a_subscriber_created_before_it(queue: Queue) -> None:
    """The store rejects a plan made with old rules, so that it is repeated."""
    queue.sql("INSERT INTO meta (name, value) VALUES ('subscribers_version', '7')")
    DeadLetterRows(queue.session.place.run_sql).subscriber(1)
    queue.accept_many(2)
    batch = queue.claim()
    before = queue.everything()
    with pytest.raises(SubscribersChangedError):
        queue.process(batch, subscribers_version=6)
    assert queue.everything() == before
    version, rules = queue.session.run(queue.store.subscriber_rules())
    assert version == 7
    assert [(rule.project_id, rule.events, rule.enabled) for rule in rules] == [(1, ("*",), True)]
    assert queue.process(batch, subscribers_version=version) == (2, [])
