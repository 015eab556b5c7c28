"""Deliveries with real receivers and handlers, and a clock that the test advances."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from standardwebhooks import Webhook

from headrace.delivery.handlers import Event, HandlerRegistry, Permanent
from headrace.domain.access.policies import DEFAULTS
from headrace.pipeline.delivering.results import GONE
from headrace.store.contract.deliveries import DeliveryState, Subscriber
from tests.delivery.receiver import answers, in_turn, receiver
from tests.support.deliverers import deliverer_of, ids_of, settle, step
from tests.support.deliveries import ACTOR, SECOND_US, Queue
from tests.support.places import Place
from tests.support.session import StoreSession


@pytest.fixture
def session(any_place: Place) -> Iterator[StoreSession]:
    opened = StoreSession(any_place)
    yield opened
    opened.close()


@pytest.fixture
def queue(session: StoreSession) -> Queue:
    return Queue(session)


def states(queue: Queue, webhook: Subscriber) -> list[DeliveryState]:
    return [delivery.state for delivery in queue.of(webhook)]


def point_at(queue: Queue, webhook: Subscriber, url: str) -> None:
    """Set the URL, bypassing the checks of the edge."""
    queue.session.place.run_sql("UPDATE subscribers SET target = ? WHERE id = ?", url, webhook.id)


def test_an_event_is_delivered_signed_and_recorded(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    (delivery_id,) = queue.deliver(webhook.id, webhook.project_id)

    async def scenario() -> None:
        async with receiver(answers(200, b"thanks")) as endpoint, deliverer_of(queue) as deliverer:
            point_at(queue, webhook, endpoint.url)
            await settle(deliverer)
            assert deliverer.stats.delivered == 1
            (request,) = endpoint.requests
            assert request.headers["webhook-id"] == delivery_id
            # Raises unless the signature is of this body with this secret.
            Webhook(webhook.secrets[0]).verify(request.body.decode(), request.headers)

    queue.session.run(scenario())
    (shown,) = queue.of(webhook)
    assert shown.state is DeliveryState.DELIVERED
    (attempt,) = shown.attempts
    assert (attempt.http_status, attempt.excerpt, attempt.cause) == (200, "thanks", None)
    assert attempt.duration_us > 0


def test_a_paused_webhook_is_not_called_and_then_at_its_rate(queue: Queue) -> None:
    webhook = queue.webhook(queue.project(), paused=True)
    ids = queue.deliver(webhook.id, webhook.project_id, 5)

    def resume(per_second: int) -> None:
        queue.session.place.run_sql(
            "UPDATE subscribers SET paused_us = NULL, resume_per_second = ?, resume_from_us = ?",
            per_second,
            queue.clock(),
        )

    async def scenario() -> None:
        async with receiver(answers(200)) as endpoint, deliverer_of(queue) as deliverer:
            point_at(queue, webhook, endpoint.url)
            for _ in range(3):
                queue.clock.pass_s(3600)
                await settle(deliverer)
            assert endpoint.requests == []
            resume(2)
            for expected in (0, 2, 4, 5):
                await settle(deliverer)
                assert len(endpoint.requests) == expected
                queue.clock.pass_s(1)
            assert sorted(ids_of(endpoint)) == sorted(ids)
            # It has caught up: the rate ends with the next upkeep.
            queue.clock.pass_s(5)
            await settle(deliverer)

    queue.session.run(scenario())
    found = queue.session.run(queue.subscribers.get(webhook.project_id, webhook.id))
    assert found is not None
    assert found.resume_per_second is None
    assert {(one.state, one.attempt) for one in queue.of(webhook)} == {(DeliveryState.DELIVERED, 1)}


def test_attempts_are_counted_by_outcome_in_the_store(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id, 3)

    async def scenario() -> None:
        behave = in_turn(answers(503), answers(404), answers(200))
        async with receiver(behave) as endpoint, deliverer_of(queue) as deliverer:
            point_at(queue, webhook, endpoint.url)
            await settle(deliverer)
            queue.clock.pass_s(10)
            await settle(deliverer)

    queue.session.run(scenario())
    # A worker writes its last counts when it stops.
    attempts = queue.session.run(queue.session.store.delivery_counts.numbers()).attempts
    assert attempts.outcomes == {"server_error": 1, "rejected": 1, "delivered": 2}
    assert sum(attempts.buckets) == 4
    assert attempts.seconds_sum > 0


def test_both_secrets_sign_during_a_rotation(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    fresh = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
    rotate = queue.subscribers.rotate_secret(webhook.project_id, webhook.id, fresh, actor=ACTOR)
    queue.session.run(rotate)
    queue.deliver(webhook.id, webhook.project_id)

    async def scenario() -> None:
        async with receiver(answers(200)) as endpoint, deliverer_of(queue) as deliverer:
            point_at(queue, webhook, endpoint.url)
            await settle(deliverer)
            (request,) = endpoint.requests
            for secret in (webhook.secrets[0], fresh):
                Webhook(secret).verify(request.body.decode(), request.headers)

    queue.session.run(scenario())


def test_a_failure_is_retried_on_schedule_with_the_same_id(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    (delivery_id,) = queue.deliver(webhook.id, webhook.project_id)

    async def scenario() -> None:
        behave = in_turn(answers(500, b"oops"), answers(200))
        async with receiver(behave) as endpoint, deliverer_of(queue) as deliverer:
            point_at(queue, webhook, endpoint.url)
            await settle(deliverer)
            assert len(endpoint.requests) == 1
            queue.clock.pass_s(3.9)
            await settle(deliverer)
            assert len(endpoint.requests) == 1
            # 5 s, plus or minus a fifth.
            queue.clock.pass_s(2.2)
            await settle(deliverer)
            assert ids_of(endpoint) == [delivery_id, delivery_id]

    queue.session.run(scenario())
    (shown,) = queue.of(webhook)
    assert shown.state is DeliveryState.DELIVERED
    assert [attempt.cause for attempt in shown.attempts] == ["server_error", None]
    assert [attempt.excerpt for attempt in shown.attempts] == ["oops", "ok"]


def test_retry_after_pauses_the_whole_subscriber(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id)

    async def scenario() -> None:
        behave = in_turn(answers(429, b"", Retry_After="300"), answers(200))
        async with receiver(behave) as endpoint, deliverer_of(queue) as deliverer:
            point_at(queue, webhook, endpoint.url)
            await settle(deliverer)
            assert len(endpoint.requests) == 1
            queue.clock.pass_s(299)
            await settle(deliverer)
            assert len(endpoint.requests) == 1
            queue.clock.pass_s(2)
            await settle(deliverer)
            assert len(endpoint.requests) == 2

    queue.session.run(scenario())
    assert states(queue, webhook) == [DeliveryState.DELIVERED]


@pytest.mark.parametrize(("status", "cause"), [(400, "rejected"), (302, "redirected")])
def test_a_permanent_failure_is_a_dead_letter_at_once(
    queue: Queue, status: int, cause: str
) -> None:
    webhook = queue.webhook(queue.project())
    (delivery_id,) = queue.deliver(webhook.id, webhook.project_id)

    async def scenario() -> None:
        async with receiver(answers(status, b"")) as endpoint, deliverer_of(queue) as deliverer:
            point_at(queue, webhook, endpoint.url)
            await settle(deliverer)

    queue.session.run(scenario())
    assert queue.dead_letters() == [(delivery_id, cause, 1)]


def test_gone_disables_the_webhook_and_its_other_deliveries_wait(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id, 6)

    async def scenario() -> None:
        async with receiver(answers(410, b"")) as endpoint, deliverer_of(queue) as deliverer:
            point_at(queue, webhook, endpoint.url)
            await settle(deliverer)
            # A new subscriber's concurrency limit is two.
            assert len(endpoint.requests) == 2

    queue.session.run(scenario())
    found = queue.session.run(queue.subscribers.get(webhook.project_id, webhook.id))
    assert found is not None
    assert found.disabled_reason == GONE
    assert states(queue, webhook).count(DeliveryState.PENDING) == 4
    assert len(queue.dead_letters()) == 2


def test_attempts_end_by_the_policy_of_the_project(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    (delivery_id,) = queue.deliver(webhook.id, webhook.project_id)
    policies = msgspec.structs.replace(DEFAULTS, delivery_max_attempts=3, retry_base_seconds=1)

    async def scenario() -> None:
        async with (
            receiver(answers(500)) as endpoint,
            deliverer_of(queue, policies=policies) as deliverer,
        ):
            point_at(queue, webhook, endpoint.url)
            for _ in range(5):
                await settle(deliverer)
                queue.clock.pass_s(100)
            assert len(endpoint.requests) == 3

    queue.session.run(scenario())
    assert queue.dead_letters() == [(delivery_id, "server_error", 3)]


def test_handlers_are_called_and_may_reject(queue: Queue) -> None:
    registry, seen = HandlerRegistry(), []

    async def takes(event: Event) -> None:
        seen.append((str(event.delivery_id), event.attempt))

    def refuses(event: Event) -> None:
        raise Permanent(event.event)

    registry.on("*", name="takes")(takes)
    registry.on("*", name="refuses")(refuses)
    project = queue.project()

    async def announce() -> list[str]:
        async with deliverer_of(queue, registry=registry) as deliverer:
            await deliverer.announce()
            return sorted(deliverer._claimer.handler_ids)

    queue.session.run(announce())
    rows = queue.session.place.run_sql("SELECT target, id FROM subscribers ORDER BY target")
    (_, refuses_id), (_, takes_id) = rows
    (taken,) = queue.deliver(takes_id, project)
    (refused,) = queue.deliver(refuses_id, project)

    async def scenario() -> None:
        async with deliverer_of(queue, registry=registry) as deliverer:
            await settle(deliverer)

    queue.session.run(scenario())
    assert seen == [(taken, 1)]
    assert queue.dead_letters() == [(refused, "handler_permanent", 1)]


def test_a_failing_subscriber_is_paused_probed_and_taken_back(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id, 30)

    async def scenario() -> None:
        failing = [answers(503)] * 7
        behave = in_turn(*failing, answers(200))
        async with receiver(behave) as endpoint, deliverer_of(queue) as deliverer:
            point_at(queue, webhook, endpoint.url)
            await settle(deliverer)
            # Two at first, then one at a time, until five consecutive failures open the breaker.
            assert len(endpoint.requests) == 5
            for probes in (6, 7):
                queue.clock.pass_s(100)
                await settle(deliverer)
                assert len(endpoint.requests) == probes
            queue.clock.pass_s(100)
            await step(deliverer)
            assert len(endpoint.requests) == 8
            queue.clock.pass_s(3600)
            await settle(deliverer)
            assert deliverer.stats.delivered == 30

    queue.session.run(scenario())
    assert set(states(queue, webhook)) == {DeliveryState.DELIVERED}
    found = queue.session.run(queue.subscribers.get(webhook.project_id, webhook.id))
    assert found is not None
    assert found.breaker is None


def test_a_pause_holds_for_every_worker(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id, 20)

    async def scenario() -> None:
        async with (
            receiver(answers(503)) as endpoint,
            deliverer_of(queue, owner="a") as first,
            deliverer_of(queue, owner="b") as second,
        ):
            point_at(queue, webhook, endpoint.url)
            await settle(first)
            assert len(endpoint.requests) == 5
            await settle(second)
            assert len(endpoint.requests) == 5
            queue.clock.pass_s(100)
            # One probe for the two workers together.
            assert (await first.run_once()).begun == 1
            assert (await second.run_once()).begun == 0

    queue.session.run(scenario())


def test_the_address_is_checked_at_the_call_too(queue: Queue) -> None:
    webhook = queue.webhook(queue.project(), url="http://10.0.0.1/hook")
    (delivery_id,) = queue.deliver(webhook.id, webhook.project_id)

    async def scenario() -> None:
        async with deliverer_of(queue) as deliverer:
            await settle(deliverer)

    queue.session.run(scenario())
    assert queue.dead_letters() == [(delivery_id, "address_refused", 1)]
    assert queue.of(webhook)[0].attempts[0].duration_us < SECOND_US
