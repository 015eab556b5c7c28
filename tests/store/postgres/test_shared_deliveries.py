"""Workers that share the deliveries of one subscriber, and values that only PostgreSQL rejects."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from headrace.domain.ids import lane_of_id
from headrace.store.contract.deliveries import (
    AttemptFailure,
    BreakerChange,
    ClaimedDelivery,
    ClaimRequest,
    DeliveryState,
)
from headrace.store.contract.processing import LEASE_US
from headrace.store.store import Store
from tests.support.deliveries import LEADERSHIP_US, Queue
from tests.support.places import PostgresPlace
from tests.support.session import StoreSession
from tests.support.waiting import wait_until

EVENTS = 300


@pytest.fixture
def place(tmp_path: Path) -> Iterator[PostgresPlace]:
    made = PostgresPlace(tmp_path)
    yield made
    made.remove()


@pytest.fixture
def queue(place: PostgresPlace) -> Iterator[Queue]:
    session = StoreSession(place)
    yield Queue(session)
    session.close()


async def renew(store: Store, owner: str) -> int | None:
    return await store.processing.acquire_leadership("processing", owner, LEADERSHIP_US)


async def shared(first: Store, second: Store) -> None:
    """Give each its half of the lanes."""
    assert await renew(first, "holder")
    assert await renew(second, "second") is None
    assert await renew(first, "holder")
    assert await renew(second, "second")


async def claim_all(store: Store, owner: str, subscriber_id: str) -> list[ClaimedDelivery]:
    """Claim until nothing is left."""
    found: list[ClaimedDelivery] = []
    while True:
        page = await store.deliveries.due_queues(after=None, handlers=(), limit=10, due_max=8)
        wants = [
            ClaimRequest(
                subscriber_id, queue.project_id, queue.due, BreakerChange(subscriber_id, None, None)
            )
            for queue in page.queues
        ]
        claimed = await store.deliveries.claim(owner, wants, 8)
        if not claimed:
            return found
        found += claimed


def test_two_workers_share_one_subscriber(queue: Queue, place: PostgresPlace) -> None:
    webhook = queue.webhook(queue.project())
    ids = queue.deliver(webhook.id, webhook.project_id, EVENTS, people=EVENTS)

    async def work() -> tuple[list[ClaimedDelivery], list[ClaimedDelivery]]:
        other = await place.open()
        try:
            await shared(queue.session.store, other)
            return await asyncio.gather(
                claim_all(queue.session.store, "holder", webhook.id),
                claim_all(other, "second", webhook.id),
            )
        finally:
            await other.close()

    first, second = queue.session.run(work())
    assert sorted(one.id for one in first + second) == sorted(ids)
    lanes = [{lane_of_id(one.event.id) for one in claimed} for claimed in (first, second)]
    assert lanes[0].isdisjoint(lanes[1])
    assert all(lanes)


def test_claims_of_a_live_worker_are_not_taken(queue: Queue, place: PostgresPlace) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id, EVENTS, people=EVENTS)
    held = queue.claim("holder", webhook.id, webhook.project_id, EVENTS)
    assert len(held) == EVENTS

    async def work() -> tuple[int, int]:
        other = await place.open()
        try:
            await shared(queue.session.store, other)
            before = len(await other.deliveries.rescue(EVENTS))
            place.run_sql("DELETE FROM workers WHERE owner = ?", "holder")
            return before, len(await other.deliveries.rescue(EVENTS))
        finally:
            await other.close()

    before, after = queue.session.run(work())
    assert before == 0
    assert 0 < after < EVENTS


def test_without_lanes_nothing_is_claimed(queue: Queue, place: PostgresPlace) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id, 3)

    async def work() -> list[ClaimedDelivery]:
        other = await place.open()
        try:
            assert await other.deliveries.expire_unroutable(10) == 0
            assert await other.deliveries.rescue(10) == []
            return await claim_all(other, "second", webhook.id)
        finally:
            await other.close()

    assert queue.session.run(work()) == []


def test_gained_lanes_bring_their_waiting_deliveries(queue: Queue, place: PostgresPlace) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id, EVENTS, people=EVENTS)

    async def work() -> tuple[int, int]:
        other = await place.open()
        try:
            await shared(queue.session.store, other)
            first = len(await claim_all(other, "second", webhook.id))
            place.run_sql("UPDATE lanes SET owner = NULL WHERE owner = ?", "holder")
            place.run_sql("DELETE FROM workers WHERE owner = ?", "holder")
            # Long past the window of the recent scan.
            assert await renew(other, "second")
            return first, len(await claim_all(other, "second", webhook.id))
        finally:
            await other.close()

    first, gained = queue.session.run(work())
    assert first
    assert gained
    assert first + gained == EVENTS


def test_text_that_the_server_rejects_is_cleaned(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id, 2)
    one, two = queue.claim("w", webhook.id, webhook.project_id)
    for claimed, failure in (
        (one, AttemptFailure("handler_raised", "a\0b \ud800 c", 5_000_000)),
        (two, AttemptFailure("handler_raised", "\udfff", None)),
    ):
        record = queue.attempt(claimed, failure)
        record = msgspec.structs.replace(record, excerpt="\0x\udc00")
        recorded = queue.session.run(queue.store.record("w", [record]))
        assert recorded.numbers == {claimed.number}
    retrying, dead = queue.of(webhook)
    assert (retrying.state, retrying.last_error) == (DeliveryState.RETRYING, "a\ufffdb \ufffd c")
    assert dead.state is DeliveryState.DEAD_LETTERED
    assert [each.excerpt for each in dead.attempts] == ["\ufffdx\ufffd"]


def test_backlog_longer_than_the_index_is_claimed_in_order(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    ids = []
    for _ in range(5):
        queue.clock.pass_s(1)
        ids += queue.deliver(webhook.id, webhook.project_id, 50, people=50)
    claimed: list[str] = []
    while found := queue.claim("w", webhook.id, webhook.project_id, 7):
        claimed += [one.id for one in found]
    due = {name: n // 50 for n, name in enumerate(ids)}
    assert sorted(claimed) == sorted(ids)
    assert [due[name] for name in claimed] == sorted(due.values())


def test_late_row_of_a_known_queue_is_found(queue: Queue) -> None:
    """A row whose transaction took longer than the recent scan allows for."""
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id, 200, people=50)
    assert len(queue.claim("w", webhook.id, webhook.project_id, 10)) == 10
    late = queue.clock.now_us - LEASE_US
    (name,) = queue.deliver(webhook.id, webhook.project_id)
    queue.session.place.run_sql("UPDATE deliveries SET due_us = ? WHERE id = ?", late, name)
    claimed: set[str] = set()
    while found := queue.claim("w", webhook.id, webhook.project_id, 50):
        claimed |= {one.id for one in found}
    assert len(claimed) in (190, 191)
    queue.store._due._full_at_s = 0.0  # type: ignore[attr-defined]
    page = queue.session.run(queue.store.due_queues(after=None, handlers=(), limit=10, due_max=8))
    claimed |= {
        one.id
        for due in page.queues
        for one in queue.claim("w", due.subscriber_id, due.project_id, due.due)
    }
    assert name in claimed
    assert len(claimed) == 191


def test_rows_of_a_slow_transaction_are_found_soon(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())

    def seen() -> int:
        page = queue.session.run(
            queue.store.due_queues(after=None, handlers=(), limit=10, due_max=8)
        )
        return sum(each.due for each in page.queues)

    assert seen() == 0
    (name,) = queue.deliver(webhook.id, webhook.project_id)
    began_us = queue.clock.now_us - 20_000_000
    queue.session.place.run_sql("UPDATE deliveries SET due_us = ? WHERE id = ?", began_us, name)
    wait_until(lambda: seen() == 1, "the row is seen", 15.0)
