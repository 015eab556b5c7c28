"""Sending events to a webhook again: each once, in the order of receipt, also over crashes."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any

import pytest

from headrace.domain.events.event import NewEvent
from headrace.domain.ids import uuid_text
from headrace.store.contract.dead_letters import (
    DeadLetterFilter,
    DeadLetterState,
    NewReplay,
    Replay,
    ReplayStatus,
)
from headrace.store.contract.resends import ResendFilter
from tests.support.dead_letters import DeadLetterRows, rows_in
from tests.support.events import START_US, new_event
from tests.support.processed import settle
from tests.support.session import StoreSession

NOW_US = START_US + 3600 * 1_000_000
ACTOR = "0123456789abcdef"


@pytest.fixture
def rows(session: StoreSession) -> DeadLetterRows:
    return rows_in(session.place)


def processed(
    session: StoreSession, rows: DeadLetterRows, count: int, **changes: Any
) -> list[NewEvent]:
    """That many new events, processed."""
    events = [new_event(**changes) for _ in range(count)]
    assert session.accept(*events) == [None] * count
    for event in events:
        settle(session, rows, event)
    return events


def delivered(
    session: StoreSession, rows: DeadLetterRows, event: NewEvent, webhook_id: str
) -> None:
    """A delivery of the event that succeeded."""
    rows.delivery(event.sequence, webhook_id)
    session.place.run_sql("DELETE FROM dead_letters WHERE sequence = ?", event.sequence)
    session.place.run_sql("UPDATE deliveries SET state = 3 WHERE sequence = ?", event.sequence)


def of_range(webhook_id: str, **changes: Any) -> ResendFilter:
    values: dict[str, Any] = {"from_us": START_US, "patterns": ("*",)}
    return ResendFilter(webhook_id=webhook_id, **(values | changes))


def of_events(webhook_id: str, events: Sequence[NewEvent], **changes: Any) -> ResendFilter:
    ids = tuple(uuid_text(event.id) for event in events)
    return ResendFilter(webhook_id=webhook_id, event_ids=ids, **changes)


def create(session: StoreSession, wanted: ResendFilter, project_id: int = 1) -> Replay:
    async def work() -> Replay:
        count = await session.store.replays.count_resend(project_id, wanted, NOW_US)
        new = NewReplay(
            id=str(uuid.uuid4()),
            project_id=project_id,
            wanted=DeadLetterFilter(),
            per_second=50,
            total=count.total,
            last_number=count.last_number,
            actor=ACTOR,
            resend=wanted,
            position=count.position,
        )
        return await session.store.replays.create(new, NOW_US)

    return session.run(work())


def finish(session: StoreSession, job: Replay, limit: int = 100, now_us: int = NOW_US) -> int:
    """Advance to the end; returns how many were queued."""
    sent = 0
    for step in range(100):
        count, goes_on = session.run(
            session.store.replays.advance(job.id, limit, now_us + step * 100_000)
        )
        sent += count
        if not goes_on:
            return sent
    raise AssertionError


def get(session: StoreSession, job: Replay) -> Replay:
    found = session.run(session.store.replays.get(job.project_id, job.id))
    assert found is not None
    return found


def queued(session: StoreSession) -> list[int]:
    """Sequences of the waiting deliveries, in the order in which they are due."""
    found = session.place.run_sql(
        "SELECT sequence FROM deliveries WHERE state = 0 ORDER BY due_us, number"
    )
    return [sequence for (sequence,) in found]


def test_webhook_made_later_gets_the_events_in_order(
    session: StoreSession, rows: DeadLetterRows
) -> None:
    events = processed(session, rows, 5)
    processed(session, rows, 2, project_id=2)
    webhook_id = rows.subscriber(1)

    job = create(session, of_range(webhook_id))
    assert (job.total, job.resend) == (5, of_range(webhook_id))
    assert finish(session, job, limit=2) == 5

    assert queued(session) == [event.sequence for event in events]
    assert (get(session, job).status, get(session, job).done) == (ReplayStatus.DONE, 5)


def test_delivered_event_goes_out_under_the_same_id(
    session: StoreSession, rows: DeadLetterRows
) -> None:
    [event] = processed(session, rows, 1)
    webhook_id = rows.subscriber(1)
    delivered(session, rows, event, webhook_id)
    before = session.place.run_sql("SELECT id, claims FROM deliveries")

    assert finish(session, create(session, of_events(webhook_id, [event]))) == 1

    assert session.place.run_sql("SELECT id, claims FROM deliveries") == before
    shown = "SELECT state, attempt, due_us, finished_us, resent_us FROM deliveries"
    assert session.place.run_sql(shown) == [(0, 0, NOW_US, None, NOW_US)]


def test_other_subscribers_are_not_affected(session: StoreSession, rows: DeadLetterRows) -> None:
    [event] = processed(session, rows, 1)
    webhook_id, other_id = rows.subscriber(1), rows.subscriber(1)
    for each in (webhook_id, other_id):
        rows.delivery(event.sequence, each)

    assert finish(session, create(session, of_range(webhook_id))) == 1

    shown = "SELECT subscriber_id, state FROM deliveries"
    assert dict(session.place.run_sql(shown)) == {webhook_id: 0, other_id: 4}
    shown = "SELECT subscriber_id, state FROM dead_letters"
    assert dict(session.place.run_sql(shown)) == {
        webhook_id: DeadLetterState.REPLAYED,
        other_id: DeadLetterState.OPEN,
    }


@pytest.mark.parametrize("chosen", [False, True])
def test_only_what_failed(session: StoreSession, rows: DeadLetterRows, *, chosen: bool) -> None:
    failed, good, never = processed(session, rows, 3)
    webhook_id = rows.subscriber(1)
    rows.delivery(failed.sequence, webhook_id)
    rows.delivery(good.sequence, rows.subscriber(1))
    delivered(session, rows, good, webhook_id)
    wanted = of_range(webhook_id, only_failed=True)
    if chosen:
        wanted = of_events(webhook_id, [failed, good, never], only_failed=True)

    job = create(session, wanted)

    assert (job.total, finish(session, job)) == (1, 1)
    assert queued(session) == [failed.sequence]
    closed = session.place.run_sql("SELECT state, closed_by, reason FROM dead_letters")
    assert closed == [(DeadLetterState.REPLAYED, ACTOR, f"replay {job.id}")]


def test_range_and_names_select(session: StoreSession, rows: DeadLetterRows) -> None:
    webhook_id = rows.subscriber(1)
    later_us = START_US + 60_000_000

    def at(event: str, at_us: int) -> NewEvent:
        sequence = new_event().sequence + ((at_us - START_US) // 1000 << 21)
        [made] = processed(session, rows, 1, event=event, sequence=sequence)
        return made

    first, second = at("order.completed", START_US), at("order.made", START_US)
    third = at("cart.left", later_us)

    def sent(**changes: Any) -> list[int]:
        session.place.run_sql("DELETE FROM deliveries")
        finish(session, create(session, of_range(webhook_id, **changes)))
        return queued(session)

    assert sent() == [first.sequence, second.sequence, third.sequence]
    assert sent(to_us=later_us) == [first.sequence, second.sequence]
    assert sent(from_us=later_us) == [third.sequence]
    assert sent(event="order.*") == [first.sequence, second.sequence]
    assert sent(event="order.made") == [second.sequence]
    assert sent(patterns=("cart.left",)) == [third.sequence]
    assert sent(from_us=later_us + 1000) == []


def test_waiting_and_unprocessed_ones_are_left_out(
    session: StoreSession, rows: DeadLetterRows
) -> None:
    waiting, fresh = processed(session, rows, 2)
    unprocessed = new_event()
    session.accept(unprocessed)
    webhook_id = rows.subscriber(1)
    rows.delivery(waiting.sequence, webhook_id)
    session.place.run_sql("UPDATE deliveries SET state = 2, due_us = 5")

    job = create(session, of_events(webhook_id, [waiting, fresh, unprocessed]))

    assert (job.total, finish(session, job)) == (3, 1)
    assert queued(session) == [fresh.sequence]
    shown = "SELECT state, due_us FROM deliveries WHERE sequence = ?"
    assert session.place.run_sql(shown, waiting.sequence) == [(2, 5)]


def test_second_job_makes_no_second_delivery(session: StoreSession, rows: DeadLetterRows) -> None:
    processed(session, rows, 3)
    webhook_id = rows.subscriber(1)
    first, second = create(session, of_range(webhook_id)), create(session, of_range(webhook_id))

    assert (finish(session, first), finish(session, second)) == (3, 0)
    assert session.place.run_sql("SELECT count(*) FROM deliveries") == [(3,)]


@pytest.mark.parametrize("enabled", [True, False])
def test_job_stops_when_its_webhook_cannot_receive(
    session: StoreSession, rows: DeadLetterRows, *, enabled: bool
) -> None:
    processed(session, rows, 3)
    webhook_id = rows.subscriber(1)
    job = create(session, of_range(webhook_id))
    session.run(session.store.replays.advance(job.id, 1, NOW_US))
    if enabled:
        session.place.run_sql("DELETE FROM subscribers")
    else:
        session.place.run_sql("UPDATE subscribers SET enabled = NOT enabled")

    assert finish(session, job) == 0
    assert (get(session, job).status, get(session, job).done) == (ReplayStatus.STOPPED, 1)


def test_its_outcome_is_counted(session: StoreSession, rows: DeadLetterRows) -> None:
    processed(session, rows, 3)
    job = create(session, of_range(rows.subscriber(1)))
    finish(session, job)
    ends = "UPDATE deliveries SET state = ? WHERE number = (SELECT {}(number) FROM deliveries)"
    session.place.run_sql(ends.format("min"), 3)
    session.place.run_sql(ends.format("max"), 4)

    outcome = session.run(session.store.replays.outcome(job))

    assert (outcome.succeeded, outcome.failed_again, outcome.pending) == (1, 1, 1)


def test_count_shows_the_oldest(session: StoreSession, rows: DeadLetterRows) -> None:
    events = processed(session, rows, 12)
    wanted = of_range(rows.subscriber(1))

    count = session.run(session.store.replays.count_resend(1, wanted, NOW_US))

    assert count.total == 12
    assert [bytes(each.id) for each in count.sample] == [event.id for event in events[:10]]


def test_missing_events_are_named(session: StoreSession, rows: DeadLetterRows) -> None:
    [mine] = processed(session, rows, 1)
    [other] = processed(session, rows, 1, project_id=2)
    ids = [uuid_text(mine.id), uuid_text(other.id), str(uuid.uuid4())]

    missing = session.run(session.store.replays.missing_events(1, ids))

    assert missing == frozenset(ids[1:])


def test_it_is_audited(session: StoreSession, rows: DeadLetterRows) -> None:
    events = processed(session, rows, 2)
    webhook_id = rows.subscriber(1)
    job = create(session, of_events(webhook_id, events))
    finish(session, job)

    found = session.place.run_sql("SELECT actor, action, detail FROM audit ORDER BY id")

    assert [(actor, action) for actor, action, _ in found] == [
        (ACTOR, "resend.create"),
        (ACTOR, "resend.done"),
    ]
    created, done = (json.loads(detail) for _, _, detail in found)
    assert created["filter"] == {"webhook_id": webhook_id, "events": 2}
    assert (created["replay"], created["total"], created["per_second"]) == (job.id, 2, 50)
    assert (done["webhook"], done["done"]) == (webhook_id, 2)
