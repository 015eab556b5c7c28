"""Delivery failures: dead subscribers and workers, lost leases, a failing store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest

from headrace.delivery.webhook.transport import WebhookLimits
from headrace.pipeline.delivering.deliverer import DelivererOptions
from headrace.store.contract.deliveries import (
    BreakerChange,
    ClaimedDelivery,
    ClaimRequest,
    DeliveryState,
    Subscriber,
)
from headrace.store.contract.errors import StoreBusyError, StoreError
from headrace.store.contract.processing import LEASE_US
from tests.delivery.receiver import Behaviour, Exchange, answers, receiver, silent
from tests.support.deliverers import Arrivals, deliverer_of, ids_of, settle
from tests.support.deliveries import Queue
from tests.support.places import Place
from tests.support.session import StoreSession

QUICK_STOP = DelivererOptions(stop_grace_s=0.01)


@pytest.fixture
def session(any_place: Place) -> Iterator[StoreSession]:
    opened = StoreSession(any_place)
    yield opened
    opened.close()


@pytest.fixture
def queue(session: StoreSession) -> Queue:
    return Queue(session)


def point_at(queue: Queue, webhooks: Sequence[Subscriber], url: str) -> None:
    for webhook in webhooks:
        queue.session.place.run_sql(
            "UPDATE subscribers SET target = ? WHERE id = ?", url, webhook.id
        )


def noting(arrivals: Arrivals, behave: Behaviour) -> Behaviour:
    async def noted(exchange: Exchange) -> None:
        await arrivals.note()
        await behave(exchange)

    return noted


@pytest.mark.parametrize("dead", [1, 60])
def test_dead_subscribers_delay_no_healthy_one(queue: Queue, dead: int) -> None:
    """Deliveries to healthy subscribers complete before any call to a dead one has ended."""
    project = queue.project()
    healthy = [queue.webhook(project) for _ in range(9)]
    silent_ones = [queue.webhook(project) for _ in range(dead)]
    for webhook in (*silent_ones, *healthy):
        queue.deliver(webhook.id, project, 12)

    async def scenario() -> None:
        arrivals = Arrivals()
        async with (
            receiver(silent) as nowhere,
            receiver(noting(arrivals, answers(200))) as endpoint,
            deliverer_of(queue, options=QUICK_STOP) as deliverer,
        ):
            point_at(queue, silent_ones, nowhere.url)
            point_at(queue, healthy, endpoint.url)
            task = asyncio.create_task(deliverer.run())
            await arrivals.wait_for(lambda: len(endpoint.requests) == 9 * 12)
            assert deliverer.stats.failed == 0
            assert len(nowhere.requests) <= 2 * dead
            await deliverer.stop()
            await task

    queue.session.run(scenario())


def test_two_workers_deliver_everything_once(queue: Queue) -> None:
    project = queue.project()
    webhooks = [queue.webhook(project) for _ in range(4)]
    ids = [delivery for webhook in webhooks for delivery in queue.deliver(webhook.id, project, 50)]

    async def scenario() -> None:
        arrivals = Arrivals()
        async with AsyncExitStack() as stack:
            endpoint = await stack.enter_async_context(receiver(noting(arrivals, answers(200))))
            point_at(queue, webhooks, endpoint.url)
            workers = [
                await stack.enter_async_context(deliverer_of(queue, owner=owner))
                for owner in ("a", "b")
            ]
            tasks = [asyncio.create_task(worker.run()) for worker in workers]
            await arrivals.wait_for(lambda: len(endpoint.requests) >= len(ids))
            for worker in workers:
                await worker.stop()
            await asyncio.gather(*tasks)
            assert sorted(ids_of(endpoint)) == sorted(ids)
            assert sum(worker.stats.delivered for worker in workers) == len(ids)

    queue.session.run(scenario())


def test_stopping_waits_for_attempts_in_flight(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id)
    go_on = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await go_on.wait()
        await answers(200)(exchange)

    async def scenario() -> None:
        arrivals = Arrivals()
        async with receiver(noting(arrivals, slow)) as endpoint, deliverer_of(queue) as deliverer:
            point_at(queue, [webhook], endpoint.url)
            task = asyncio.create_task(deliverer.run())
            await arrivals.wait_for(lambda: len(endpoint.requests) == 1)
            stopping = asyncio.create_task(deliverer.stop())
            go_on.set()
            await stopping
            await task

    queue.session.run(scenario())
    assert [delivery.state for delivery in queue.of(webhook)] == [DeliveryState.DELIVERED]


def test_stopping_releases_slow_attempts(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id, 2)

    async def scenario() -> None:
        arrivals = Arrivals()
        async with (
            receiver(noting(arrivals, silent)) as endpoint,
            deliverer_of(queue, options=QUICK_STOP) as deliverer,
        ):
            point_at(queue, [webhook], endpoint.url)
            task = asyncio.create_task(deliverer.run())
            await arrivals.wait_for(lambda: len(endpoint.requests) == 2)
            await deliverer.stop()
            await task

    queue.session.run(scenario())
    for delivery in queue.of(webhook):
        assert (delivery.state, delivery.attempt) == (DeliveryState.PENDING, 0)
        assert delivery.attempts == []


def test_worker_returning_after_its_lease_changes_nothing(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id)

    async def scenario() -> None:
        async with receiver(answers(200)) as endpoint, deliverer_of(queue) as deliverer:
            point_at(queue, [webhook], endpoint.url)
            await deliverer.run_once()
            await deliverer._flights.wait(10)
            # The response is here and the worker is paused, for longer than its lease.
            queue.clock.now_us += LEASE_US
            assert await queue.store.rescue(10) == [webhook.id]
            await deliverer._recorder.record(10)
            assert (deliverer.stats.stale, deliverer.stats.delivered) == (1, 0)
            shown = await queue.store.list(webhook.project_id, webhook.id, before=None, limit=9)
            assert [delivery.state for delivery in shown] == [DeliveryState.RETRYING]
            await settle(deliverer)
            assert deliverer.stats.delivered == 1

    queue.session.run(scenario())
    assert queue.dead_letters() == []


def test_an_attempt_whose_lease_is_lost_is_cut_short(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id)

    async def scenario() -> None:
        async with (
            receiver(silent) as endpoint,
            deliverer_of(queue, options=QUICK_STOP) as deliverer,
        ):
            point_at(queue, [webhook], endpoint.url)
            await deliverer.run_once()
            queue.clock.now_us += LEASE_US
            assert await queue.store.rescue(10) == [webhook.id]
            (other,) = await _claim_as_other(queue, webhook)
            await deliverer.run_once()
            assert len(deliverer._flights) == 0
            assert await queue.store.renew("other", [other]) == {other.number}
            # The receiver sees the call end.
            async with asyncio.timeout(10):
                await endpoint.hung_up.acquire()

    queue.session.run(scenario())


async def _claim_as_other(queue: Queue, webhook: Subscriber) -> Sequence[ClaimedDelivery]:
    queue.lives("other")
    page = await queue.store.due_queues(after=None, handlers=(), limit=9, due_max=9)
    assert [queue.subscriber_id for queue in page.queues] == [webhook.id]
    want = ClaimRequest(webhook.id, webhook.project_id, 1, BreakerChange(webhook.id, None, None))
    return await queue.store.claim("other", [want], 1)


def test_leases_are_renewed_while_an_attempt_lasts(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id)

    async def scenario() -> None:
        async with (
            receiver(silent) as endpoint,
            deliverer_of(queue, options=QUICK_STOP) as deliverer,
        ):
            point_at(queue, [webhook], endpoint.url)
            await deliverer.run_once()
            for _ in range(10):
                queue.clock.pass_s(40)
                await deliverer.run_once()
                assert await queue.store.rescue(10) == []

    queue.session.run(scenario())


def test_claims_of_a_dead_worker_are_delivered_by_another(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id, 3)
    queue.claim("dead", webhook.id, webhook.project_id)
    queue.clock.now_us += LEASE_US

    async def scenario() -> None:
        async with receiver(answers(200)) as endpoint, deliverer_of(queue) as deliverer:
            point_at(queue, [webhook], endpoint.url)
            await settle(deliverer)
            assert (deliverer.stats.rescued, deliverer.stats.delivered) == (3, 3)

    queue.session.run(scenario())


class Failing:
    """A store whose next calls fail."""

    def __init__(self, store: Any, failures: dict[str, list[StoreError]]) -> None:
        self._store = store
        self._failures = failures

    def __getattr__(self, name: str) -> Any:
        if self._failures.get(name):

            async def fail(*_: object, **__: object) -> None:
                raise self._failures[name].pop()

            return fail
        return getattr(self._store, name)


def test_a_temporary_store_failure_loses_nothing(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id, 5)
    failures: dict[str, list[StoreError]] = {
        name: [StoreBusyError("busy") for _ in range(times)]
        for name, times in {
            "record": 2,
            "due_queues": 2,
            "claim": 2,
            "rescue": 1,
            "expire_unroutable": 1,
        }.items()
    }

    async def scenario() -> None:
        arrivals = Arrivals()
        options = DelivererOptions(error_s=0.01)
        failing: Any = Failing(queue.store, failures)
        async with (
            receiver(noting(arrivals, answers(200))) as endpoint,
            deliverer_of(queue, options=options, store=failing) as deliverer,
        ):
            point_at(queue, [webhook], endpoint.url)
            task = asyncio.create_task(deliverer.run())
            await arrivals.wait_for(lambda: len(endpoint.requests) == 5)
            await deliverer.stop()
            await task
            assert len(endpoint.requests) == 5

    queue.session.run(scenario())
    assert {delivery.state for delivery in queue.of(webhook)} == {DeliveryState.DELIVERED}
    assert not any(failures.values())


def test_a_drip_ends_by_the_deadline_and_counts_as_taken(queue: Queue) -> None:
    """The status decides; the time of the body changes only the duration."""
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id)

    async def drip(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while await exchange.pause(0.05):
            await exchange.send(b"x")

    async def scenario() -> None:
        limits = WebhookLimits(deadline_s=0.3)
        async with receiver(drip) as endpoint, deliverer_of(queue, limits=limits) as deliverer:
            point_at(queue, [webhook], endpoint.url)
            await settle(deliverer)

    queue.session.run(scenario())
    assert [delivery.state for delivery in queue.of(webhook)] == [DeliveryState.DELIVERED]
