"""A webhook that its owner paused: deliveries wait, and are made at a rate after it is resumed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from headrace.domain.upkeep.alerts import AlertKind, Level
from headrace.store.contract.deliveries import (
    DISABLED_WAIT_US,
    ClaimedDelivery,
    DeliveryState,
    Subscriber,
    SubscriberQueue,
    WebhookChange,
)
from tests.support.deliveries import ACTOR, SECOND_US, Queue, failure
from tests.support.session import StoreSession

DAY_S = 86_400


@pytest.fixture
def queue(session: StoreSession) -> Queue:
    return Queue(session)


def change(queue: Queue, webhook: Subscriber, **fields: Any) -> Subscriber:
    updated = queue.subscribers.update(
        webhook.project_id, webhook.id, WebhookChange(**fields), actor=ACTOR
    )
    found = queue.session.run(updated)
    assert found is not None
    return found


def due(queue: Queue) -> list[SubscriberQueue]:
    page = queue.store.due_queues(after=None, handlers=(), limit=100, due_max=8)
    return [*queue.session.run(page).queues]


def claim(queue: Queue, webhook: Subscriber, owner: str = "w") -> Sequence[ClaimedDelivery]:
    return queue.claim(owner, webhook.id, webhook.project_id, 100)


def audited(queue: Queue) -> list[tuple[str, dict[str, Any]]]:
    rows = queue.session.place.run_sql(
        "SELECT action, detail FROM audit WHERE action LIKE 'webhook.%' ORDER BY id"
    )
    return [(action, json.loads(detail)) for action, detail in rows]


def test_deliveries_of_a_paused_webhook_wait_for_ever(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id)
    (claimed,) = claim(queue, webhook)
    paused = change(queue, webhook, paused=True)
    assert paused.paused_us == queue.clock()
    # The attempt in progress ends as it does; what follows waits.
    queue.record("w", claimed, failure(5))
    queue.deliver(webhook.id, webhook.project_id)

    queue.clock.pass_s(300 * DAY_S)
    assert 300 * DAY_S * SECOND_US > DISABLED_WAIT_US
    assert due(queue) == []
    assert claim(queue, webhook) == []
    assert queue.session.run(queue.store.expire_unroutable(100)) == 0
    assert [(one.state, one.attempt) for one in queue.of(webhook)] == [
        (DeliveryState.RETRYING, 1),
        (DeliveryState.PENDING, 0),
    ]
    assert queue.dead_letters() == []

    resumed = change(queue, webhook, paused=False)
    assert (resumed.paused_us, resumed.resume_per_second) == (None, None)
    assert sorted(one.attempt for one in claim(queue, webhook)) == [1, 2]


def test_a_webhook_can_be_made_paused(queue: Queue) -> None:
    webhook = queue.webhook(queue.project(), paused=True)
    assert webhook.paused_us == queue.clock()
    queue.deliver(webhook.id, webhook.project_id)
    assert due(queue) == []
    assert claim(queue, webhook) == []


def test_pausing_again_keeps_the_time_of_the_first(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    since_us = change(queue, webhook, paused=True).paused_us
    queue.clock.pass_s(60)
    assert change(queue, webhook, paused=True).paused_us == since_us
    # Enabling ends a pause of the breaker, not this one.
    assert change(queue, webhook, enabled=True).paused_us == since_us


@pytest.mark.parametrize("per_second", [1, 7, 1000])
def test_no_more_than_the_rate_begins_after_a_pause(queue: Queue, per_second: int) -> None:
    webhook = queue.webhook(queue.project())
    change(queue, webhook, paused=True)
    queue.deliver(webhook.id, webhook.project_id, 20, people=5)
    queue.clock.pass_s(60)
    resumed = change(queue, webhook, paused=False, per_second=per_second)
    assert resumed.resume_per_second == per_second
    assert due(queue) == []
    assert claim(queue, webhook) == []

    begun = 0
    # Two workers share the rate; the second claim of each pair finds what the first has left.
    for step in range(1, 31):
        queue.clock.pass_s(0.1)
        queues = due(queue)
        found = [*claim(queue, webhook, "w"), *claim(queue, webhook, "v")]
        assert min(len(found), 8) == sum(each.due for each in queues)
        begun += len(found)
        assert begun <= step * per_second / 10
    assert begun == min(20, 3 * per_second)
    states = [one.state for one in queue.of(webhook)]
    assert states.count(DeliveryState.PENDING) == 20 - begun


def test_an_unused_rate_does_not_pile_up(queue: Queue) -> None:
    webhook = queue.webhook(queue.project(), paused=True)
    queue.deliver(webhook.id, webhook.project_id, 20)
    change(queue, webhook, paused=False, per_second=5)
    queue.clock.pass_s(3600)
    assert len(claim(queue, webhook)) == 5
    assert claim(queue, webhook) == []
    # Nor does a clock that is set back hold the others up for an hour.
    queue.clock.pass_s(-3600)
    queue.session.place.run_sql("UPDATE deliveries SET due_us = 0 WHERE state = 0")
    assert len(claim(queue, webhook)) == 5
    assert claim(queue, webhook) == []


def test_the_rate_ends_once_nothing_is_due(queue: Queue) -> None:
    webhook = queue.webhook(queue.project(), paused=True)
    queue.deliver(webhook.id, webhook.project_id, 3)
    change(queue, webhook, paused=False, per_second=2)

    def rate() -> int | None:
        queue.session.run(queue.store.end_paces())
        found = queue.session.run(queue.subscribers.get(webhook.project_id, webhook.id))
        assert found is not None
        return found.resume_per_second

    queue.clock.pass_s(1)
    assert len(claim(queue, webhook)) == 2
    assert rate() == 2
    # New deliveries keep to it while old ones are left.
    queue.deliver(webhook.id, webhook.project_id, 3)
    assert claim(queue, webhook) == []
    for _ in range(2):
        queue.clock.pass_s(1)
        assert len(claim(queue, webhook)) == 2
    assert rate() is None
    queue.deliver(webhook.id, webhook.project_id, 3)
    assert len(claim(queue, webhook)) == 3


def test_a_pause_ends_the_rate_of_the_one_before(queue: Queue) -> None:
    webhook = queue.webhook(queue.project(), paused=True)
    change(queue, webhook, paused=False, per_second=2)
    assert change(queue, webhook, paused=False).resume_per_second == 2
    assert change(queue, webhook, paused=False, per_second=3).resume_per_second == 3
    assert change(queue, webhook, paused=True).resume_per_second is None


def test_pauses_are_in_the_audit_log(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    change(queue, webhook, paused=True)
    change(queue, webhook, paused=True)
    change(queue, webhook, paused=False, per_second=9, description="new")
    change(queue, webhook, paused=False)
    change(queue, webhook, paused=False, per_second=10)
    named = {"subscriber": webhook.id}
    changes = {"description": {"from": "", "to": "new"}}
    faster = {"per_second": {"from": 9, "to": 10}}
    assert audited(queue)[1:] == [
        ("webhook.pause", named),
        ("webhook.resume", named | {"per_second": 9}),
        ("webhook.update", named | {"changes": changes}),
        ("webhook.update", named | {"changes": faster}),
    ]


def test_waiting_deliveries_of_paused_webhooks_are_counted_apart(queue: Queue) -> None:
    project = queue.project()
    running, paused = queue.webhook(project), queue.webhook(project, paused=True)
    queue.deliver(running.id, project, 2)
    queue.deliver(paused.id, project, 3)
    stats = queue.session.run(queue.session.store.processing.stats())
    assert (stats.deliveries, stats.paused_deliveries) == (5, 3)
    assert queue.session.run(queue.store.waiting(project, paused.id)) == 3


def test_a_paused_webhook_starts_no_alert(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id, 6)
    for claimed in claim(queue, webhook):
        queue.record("w", claimed, failure(5))

    def failing() -> list[Level]:
        found = queue.session.run(queue.session.store.alerts.readings(queue.clock()))
        return [one.level for one in found if one.kind is AlertKind.SUBSCRIBER_FAILING]

    assert failing() == [Level.BAD]
    change(queue, webhook, paused=True)
    assert failing() == []


def test_the_trace_knows_since_when_a_webhook_is_paused(queue: Queue) -> None:
    webhook = queue.webhook(queue.project(), paused=True)
    queue.deliver(webhook.id, webhook.project_id)
    (shown,) = queue.of(webhook)
    assert shown.event_id is not None
    facts = queue.session.run(queue.session.store.trace.facts(webhook.project_id, shown.event_id))
    assert facts is not None
    assert [one.paused_us for one in facts.subscribers] == [queue.clock()]
