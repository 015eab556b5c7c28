"""The queue of deliveries: order, leases, fences, retries, dead letters."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from headrace.delivery.contract import HandlerTarget, WebhookTarget
from headrace.store.contract.deliveries import (
    ATTEMPTS_KEPT,
    DISABLED_WAIT_US,
    LOSSES_MAX,
    AttemptFailure,
    BreakerChange,
    ClaimRequest,
    DeliveryState,
    LoadedHandler,
    Subscriber,
    SubscriberKind,
    SubscriberQueue,
    WebhookChange,
)
from headrace.store.contract.processing import LEASE_US
from tests.support.deliveries import ACTOR, SECOND_US, Queue, failure
from tests.support.session import StoreSession

BREAKER = '{"state":"open","generation":1}'

#: Ten thousand claims whose lease is over.
LEFT_BEHIND = (
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) "
    "INSERT INTO deliveries (lane, id, project_id, sequence, subscriber_id, state, attempt, "
    "claims, due_us, lease_until_us, owner, created_us) SELECT lane, 'd' || i, project_id, "
    "sequence, subscriber_id, 1, 1, 1, 0, 1, 'gone', 0 FROM deliveries, n WHERE state = 0"
)
LEFT_BEHIND_IN_LANES = (
    "INSERT INTO deliveries (lane, number, id, project_id, sequence, subscriber_id, state, "
    "attempt, claims, due_us, lease_until_us, owner, created_us) SELECT lane, 1000000 + i, "
    "'d' || i, project_id, sequence, subscriber_id, 1, 1, 1, 0, 1, 'gone', 0 "
    "FROM deliveries, generate_series(1, 10000) AS i WHERE state = 0"
)


@pytest.fixture
def queue(session: StoreSession) -> Queue:
    return Queue(session)


def due_queues(
    queue: Queue, *, after: tuple[str, int] | None = None, limit: int = 100, handlers: str = ""
) -> list[SubscriberQueue]:
    page = queue.session.run(
        queue.store.due_queues(after=after, handlers={handlers}, limit=limit, due_max=3)
    )
    return [*page.queues]


def test_claim_has_everything_that_an_attempt_needs(queue: Queue) -> None:
    webhook = queue.webhook(queue.project(), secret="whsec_a")
    (delivery_id,) = queue.deliver(webhook.id, webhook.project_id)
    (claimed,) = queue.claim("w", webhook.id, webhook.project_id)
    assert (claimed.id, claimed.attempt, claimed.claim, claimed.crashes) == (delivery_id, 1, 1, 0)
    assert claimed.target == WebhookTarget(url=webhook.target, secrets=("whsec_a",))
    assert claimed.event.payload == '{"total": 12.50}'
    assert queue.of(webhook)[0].state is DeliveryState.DELIVERING
    assert queue.claim("w", webhook.id, webhook.project_id) == []


def test_longest_due_are_claimed_first_up_to_the_limit(queue: Queue) -> None:
    first, second = (queue.webhook(queue.project()) for _ in range(2))
    expected = []
    for _ in range(4):
        queue.clock.pass_s(1)
        expected += queue.deliver(first.id, first.project_id)
    queue.deliver(second.id, second.project_id, 4)
    none = BreakerChange(first.id, None, None)
    wants = [
        ClaimRequest(first.id, first.project_id, 3, none),
        ClaimRequest(second.id, second.project_id, 3, BreakerChange(second.id, None, None)),
    ]
    claimed = queue.session.run(queue.store.claim("w", wants, 5))
    assert [one.id for one in claimed if one.subscriber_id == first.id] == expected[:3]
    assert len(claimed) == 5


def test_queues_count_due_deliveries_and_are_paged(queue: Queue) -> None:
    webhooks = sorted((queue.webhook(queue.project()) for _ in range(3)), key=lambda w: w.id)
    for webhook in webhooks:
        queue.deliver(webhook.id, webhook.project_id, 5)
    (later,) = queue.claim("w", webhooks[1].id, webhooks[1].project_id, 1)
    queue.record("w", later, failure(60))
    assert [(queue.subscriber_id, queue.due) for queue in due_queues(queue)] == [
        (webhook.id, 3) for webhook in webhooks
    ]
    page = queue.session.run(queue.store.due_queues(after=None, handlers=(), limit=2, due_max=3))
    assert [queue.subscriber_id for queue in page.queues] == [w.id for w in webhooks[:2]]
    assert page.next_after == (webhooks[1].id, webhooks[1].project_id)
    assert [queue.subscriber_id for queue in due_queues(queue, after=page.next_after)] == [
        webhooks[2].id
    ]


def test_deliveries_that_are_not_due_make_no_queue(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id)
    (claimed,) = queue.claim("w", webhook.id, webhook.project_id)
    queue.record("w", claimed, failure(5))
    assert due_queues(queue) == []
    queue.clock.pass_s(5)
    assert due_queues(queue) == [
        SubscriberQueue(webhook.id, webhook.project_id, SubscriberKind.WEBHOOK, None, 1)
    ]


def test_a_disabled_webhook_gets_nothing_until_it_is_enabled(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id)

    def enable(*, enabled: bool) -> None:
        change = WebhookChange(enabled=enabled)
        queue.session.run(
            queue.subscribers.update(webhook.project_id, webhook.id, change, actor=ACTOR)
        )

    enable(enabled=False)
    assert due_queues(queue) == []
    assert queue.claim("w", webhook.id, webhook.project_id) == []
    enable(enabled=True)
    assert len(queue.claim("w", webhook.id, webhook.project_id)) == 1


def test_a_worker_takes_deliveries_of_its_own_handlers_only(queue: Queue) -> None:
    (handler,) = queue.session.run(
        queue.subscribers.announce_handlers([LoadedHandler("a.f", ("*",))], running_since_us=0)
    )
    projects = sorted(queue.project() for _ in range(2))
    for project in projects:
        queue.deliver(handler, project)
    assert due_queues(queue) == []
    found = due_queues(queue, handlers=handler)
    assert [queue.project_id for queue in found] == projects
    (claimed,) = queue.claim("w", handler, projects[1])
    assert claimed.target == HandlerTarget(name="a.f")
    assert claimed.project_id == projects[1]


def test_changed_breaker_keeps_a_queue_closed(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id)
    queue.session.place.run_sql(
        "UPDATE subscribers SET breaker = ? WHERE id = ?", BREAKER, webhook.id
    )
    assert queue.claim("w", webhook.id, webhook.project_id) == []
    assert due_queues(queue)[0].breaker == BREAKER
    probe = ClaimRequest(
        webhook.id, webhook.project_id, 1, BreakerChange(webhook.id, BREAKER, "probing")
    )
    assert len(queue.session.run(queue.store.claim("w", [probe], 1))) == 1
    # Another worker that saw the same breaker is too late for the probe.
    queue.deliver(webhook.id, webhook.project_id)
    assert queue.session.run(queue.store.claim("v", [probe], 1)) == []


def test_a_breaker_is_changed_by_one_worker_only(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    first = BreakerChange(webhook.id, None, "one")
    second = BreakerChange(webhook.id, None, "two")
    assert queue.session.run(queue.store.record("w", [], [first])).breakers_changed == {}
    changed = queue.session.run(queue.store.record("v", [], [second])).breakers_changed
    assert changed == {webhook.id: "one"}


def test_delivered_delivery_is_done(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id)
    (claimed,) = queue.claim("w", webhook.id, webhook.project_id)
    assert queue.record("w", claimed).numbers == {claimed.number}
    (shown,) = queue.of(webhook)
    assert shown.state is DeliveryState.DELIVERED
    assert shown.finished_us == queue.clock()
    (attempt,) = shown.attempts
    assert (attempt.cause, attempt.http_status, attempt.excerpt) == (None, 200, "ok")
    queue.clock.pass_s(10**6)
    assert queue.rescue() == 0
    assert due_queues(queue) == []
    assert queue.dead_letters() == []


def test_failed_delivery_is_retried(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id)
    for number in (1, 2, 3):
        (claimed,) = queue.claim("w", webhook.id, webhook.project_id)
        assert claimed.attempt == number
        queue.record("w", claimed, failure(5))
        assert queue.of(webhook)[0].state is DeliveryState.RETRYING
        assert queue.claim("w", webhook.id, webhook.project_id) == []
        queue.clock.pass_s(5)
    assert [attempt.number for attempt in queue.of(webhook)[0].attempts] == [1, 2, 3]


def test_the_last_failure_leaves_a_dead_letter(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    (delivery_id,) = queue.deliver(webhook.id, webhook.project_id)
    began_us = queue.clock()
    (claimed,) = queue.claim("w", webhook.id, webhook.project_id)
    queue.record("w", claimed, failure(5))
    queue.clock.pass_s(5)
    (claimed,) = queue.claim("w", webhook.id, webhook.project_id)
    queue.record("w", claimed, failure(None, "rejected"))
    assert queue.of(webhook)[0].state is DeliveryState.DEAD_LETTERED
    assert queue.dead_letters() == [(delivery_id, "rejected", 2)]
    rows = queue.session.place.run_sql(
        "SELECT project_id, event, subscriber_id, error, first_failed_us, dead_lettered_us "
        "FROM dead_letters"
    )
    error = "the endpoint returned 500 (server error)"
    expected = (webhook.project_id, "order.completed", webhook.id, error, began_us)
    assert rows == [(*expected, began_us + 5 * SECOND_US)]


def test_one_batch_records_many_outcomes(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id, 3)
    first, second, third = queue.claim("w", webhook.id, webhook.project_id)
    records = [
        queue.attempt(first),
        queue.attempt(second, failure(5)),
        queue.attempt(third, failure(None)),
    ]
    recorded = queue.session.run(queue.store.record("w", records))
    assert recorded.numbers == {first.number, second.number, third.number}
    assert [delivery.state for delivery in queue.of(webhook)] == [
        DeliveryState.DELIVERED,
        DeliveryState.RETRYING,
        DeliveryState.DEAD_LETTERED,
    ]


@pytest.mark.parametrize("retry_in_s", [5.0, None])
def test_a_worker_paused_past_its_lease_changes_nothing(
    queue: Queue, retry_in_s: float | None
) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id)
    (stale,) = queue.claim("w", webhook.id, webhook.project_id)
    queue.clock.now_us += LEASE_US
    assert queue.rescue() == 1
    (fresh,) = queue.claim("v", webhook.id, webhook.project_id)
    before = queue.of(webhook)
    assert queue.record("w", stale).numbers == frozenset()
    assert queue.record("w", stale, failure(retry_in_s)).numbers == frozenset()
    assert queue.session.run(queue.store.renew("w", [stale])) == frozenset()
    assert queue.session.run(queue.store.release("w", [stale])) == 0
    assert queue.session.run(queue.store.release("w")) == 0
    assert queue.of(webhook) == before
    assert queue.record("v", fresh).numbers == {fresh.number}
    assert queue.record("w", stale, failure(None)).numbers == frozenset()
    assert queue.of(webhook)[0].state is DeliveryState.DELIVERED
    assert queue.dead_letters() == []


def test_worker_is_fenced_from_its_own_earlier_claim(queue: Queue) -> None:
    """After a replay owner and attempt are the same as before, but not the number of the claim."""
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id)
    (stale,) = queue.claim("w", webhook.id, webhook.project_id)
    queue.clock.now_us += LEASE_US
    queue.rescue()
    (fresh,) = queue.claim("v", webhook.id, webhook.project_id)
    queue.record("v", fresh, failure(None))
    dead = queue.session.place.run_sql("SELECT id FROM dead_letters")[0][0]
    replay = queue.session.store.dead_letters.replay(
        webhook.project_id, dead, queue.clock(), actor=ACTOR
    )
    queue.session.run(replay)
    (again,) = queue.claim("w", webhook.id, webhook.project_id)
    assert (again.attempt, again.number) == (stale.attempt, stale.number)
    assert again.claim > stale.claim
    assert queue.record("w", stale).numbers == frozenset()
    assert queue.record("w", again).numbers == {again.number}


def test_a_renewed_lease_is_not_rescued(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id)
    (claimed,) = queue.claim("w", webhook.id, webhook.project_id)
    queue.clock.now_us += LEASE_US - 1
    assert queue.rescue() == 0
    assert queue.session.run(queue.store.renew("w", [claimed])) == {claimed.number}
    queue.clock.now_us += LEASE_US - 1
    assert queue.rescue() == 0
    queue.clock.now_us += 1
    assert queue.rescue() == 1


def test_rescued_delivery_is_a_suspect_and_due_at_once(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id)
    queue.claim("w", webhook.id, webhook.project_id)
    queue.clock.now_us += LEASE_US
    queue.rescue()
    (shown,) = queue.of(webhook)
    assert shown.state is DeliveryState.RETRYING
    assert [attempt.cause for attempt in shown.attempts] == ["worker_lost"]
    (claimed,) = queue.claim("v", webhook.id, webhook.project_id)
    assert (claimed.attempt, claimed.crashes) == (1, 1)
    queue.clock.now_us += LEASE_US
    queue.rescue()
    (claimed,) = queue.claim("v", webhook.id, webhook.project_id)
    assert (claimed.attempt, claimed.crashes) == (1, 1)


def lose(queue: Queue, webhook: Subscriber, times: int) -> None:
    """Let workers crash in turn while they hold the due deliveries."""
    for _ in range(times):
        queue.claim("w", webhook.id, webhook.project_id)
        queue.clock.now_us += LEASE_US
        assert queue.rescue() == 1


def test_delivery_lost_repeatedly_is_dead_lettered(queue: Queue) -> None:
    """However few attempts it has: lost ones are not counted."""
    webhook = queue.webhook(queue.project())
    (delivery_id,) = queue.deliver(webhook.id, webhook.project_id)
    lose(queue, webhook, LOSSES_MAX - 1)
    assert queue.dead_letters() == []
    lose(queue, webhook, 1)
    assert queue.dead_letters() == [(delivery_id, "crash_loop", 0)]
    (shown,) = queue.of(webhook)
    assert shown.state is DeliveryState.DEAD_LETTERED
    causes = [attempt.cause for attempt in shown.attempts]
    assert causes == ["worker_lost"] * (LOSSES_MAX - 1) + ["crash_loop"]


def replay(queue: Queue, webhook: Subscriber) -> None:
    dead = queue.session.place.run_sql("SELECT id FROM dead_letters WHERE state = 0")[0][0]
    letters = queue.session.store.dead_letters
    queue.session.run(letters.replay(webhook.project_id, dead, queue.clock(), actor=ACTOR))


def test_result_or_replay_resets_losses(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id)
    lose(queue, webhook, LOSSES_MAX - 1)
    (claimed,) = queue.claim("w", webhook.id, webhook.project_id)
    queue.record("w", claimed, failure(0))
    lose(queue, webhook, LOSSES_MAX - 1)
    assert queue.dead_letters() == []
    lose(queue, webhook, 1)
    replay(queue, webhook)
    lose(queue, webhook, LOSSES_MAX - 1)
    assert queue.dead_letters() == []


def test_crashes_are_kept_until_an_attempt_has_a_result(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id)
    (claimed,) = queue.claim("w", webhook.id, webhook.project_id)
    queue.record("w", claimed, replace(failure(0), crashes=2))
    lose(queue, webhook, 3)
    (claimed,) = queue.claim("w", webhook.id, webhook.project_id)
    assert claimed.crashes == 2
    queue.session.run(queue.store.release("w"))
    (claimed,) = queue.claim("w", webhook.id, webhook.project_id)
    assert claimed.crashes == 2
    queue.record("w", claimed, failure(0))
    (claimed,) = queue.claim("w", webhook.id, webhook.project_id)
    assert claimed.crashes == 0


def test_claims_of_a_dead_process_are_rescued_at_once(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id, 2)
    queue.claim("gone", webhook.id, webhook.project_id, 1)
    queue.claim("here", webhook.id, webhook.project_id, 1)
    queue.dies("gone")
    assert queue.rescue() == 1
    assert queue.rescue() == 0


def test_expired_leases_block_nothing(queue: Queue) -> None:
    webhook, other = queue.webhook(queue.project()), queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id)
    queue.session.place.run_sql(LEFT_BEHIND if queue.embedded else LEFT_BEHIND_IN_LANES)
    queue.deliver(other.id, other.project_id)
    assert [queue.due for queue in due_queues(queue)] == [1, 1]
    assert len(queue.claim("w", other.id, other.project_id)) == 1
    assert queue.rescue(limit=256) == 256
    assert len(queue.claim("w", webhook.id, webhook.project_id, 300)) == 257


def test_release_does_not_count_attempts(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id, 2)
    first, _ = queue.claim("w", webhook.id, webhook.project_id)
    assert queue.session.run(queue.store.release("w", [first])) == 1
    assert queue.of(webhook)[0].state is DeliveryState.PENDING
    (again,) = queue.claim("v", webhook.id, webhook.project_id)
    assert again.attempt == 1
    queue.record("v", again, failure(0))
    queue.claim("w", webhook.id, webhook.project_id)
    assert queue.session.run(queue.store.release("w")) == 2
    assert [delivery.state for delivery in queue.of(webhook)] == [
        DeliveryState.RETRYING,
        DeliveryState.PENDING,
    ]
    assert queue.of(webhook)[0].attempt == 1


def test_kept_attempts_are_limited(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id)
    for _ in range(ATTEMPTS_KEPT + 5):
        (claimed,) = queue.claim("w", webhook.id, webhook.project_id)
        queue.record("w", claimed, failure(0))
    attempts = queue.of(webhook)[0].attempts
    assert [attempt.number for attempt in attempts] == [*range(6, ATTEMPTS_KEPT + 6)]


def test_gone_disables_the_webhook_once(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id, 2)
    first, second = queue.claim("w", webhook.id, webhook.project_id)
    gone = AttemptFailure("gone", "the endpoint is gone for good", None, "it said 410")
    records = [queue.attempt(first, gone), queue.attempt(second, gone)]
    before = queue.session.run(queue.subscribers.version())
    queue.session.run(queue.store.record("w", records))
    found = queue.session.run(queue.subscribers.get(webhook.project_id, webhook.id))
    assert found is not None
    assert (found.enabled, found.disabled_reason) == (False, "it said 410")
    assert queue.session.run(queue.subscribers.version()) == before + 1
    assert [cause for _, cause, _ in queue.dead_letters()] == ["gone", "gone"]


def test_an_old_gone_does_not_disable_a_webhook_that_was_repaired(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id)
    (claimed,) = queue.claim("w", webhook.id, webhook.project_id)
    record = queue.attempt(claimed, AttemptFailure("gone", "gone", None, "it said 410"))
    queue.clock.pass_s(1)
    change = WebhookChange(url="https://example.org/new")
    queue.session.run(queue.subscribers.update(webhook.project_id, webhook.id, change, actor=ACTOR))
    queue.session.run(queue.store.record("w", [record]))
    found = queue.session.run(queue.subscribers.get(webhook.project_id, webhook.id))
    assert found is not None
    assert found.enabled


def test_deliveries_to_a_deleted_webhook_are_dead_lettered(queue: Queue) -> None:
    webhook, other = queue.webhook(queue.project()), queue.webhook(queue.project())
    ids = queue.deliver(webhook.id, webhook.project_id, 5)
    queue.deliver(other.id, other.project_id)
    assert queue.session.run(queue.store.expire_unroutable(3)) == 0
    queue.session.run(queue.subscribers.delete(webhook.project_id, webhook.id, actor=ACTOR))
    assert queue.session.run(queue.store.expire_unroutable(3)) == 3
    assert queue.session.run(queue.store.expire_unroutable(3)) == 2
    assert queue.session.run(queue.store.expire_unroutable(3)) == 0
    letters = queue.dead_letters()
    assert {delivery for delivery, _, _ in letters} == set(ids)
    assert {cause for _, cause, _ in letters} == {"subscriber_deleted"}


def test_deliveries_wait_for_a_disabled_webhook_but_not_for_ever(queue: Queue) -> None:
    webhook = queue.webhook(queue.project(), enabled=False)
    queue.deliver(webhook.id, webhook.project_id)
    queue.clock.now_us += DISABLED_WAIT_US - 1
    assert queue.session.run(queue.store.expire_unroutable(10)) == 0
    queue.clock.now_us += 1
    assert queue.session.run(queue.store.expire_unroutable(10)) == 1
    assert [cause for _, cause, _ in queue.dead_letters()] == ["subscriber_disabled"]


def test_delivery_without_its_event_is_removed(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id)
    queue.session.place.run_sql("DELETE FROM events")
    assert queue.claim("w", webhook.id, webhook.project_id) == []
    assert queue.of(webhook) == []


def test_lists_show_one_project_and_one_webhook(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    ids = queue.deliver(webhook.id, webhook.project_id, 3)
    run, store = queue.session.run, queue.store
    page = run(store.list(webhook.project_id, webhook.id, before=None, limit=2))
    assert [delivery.id for delivery in page] == ids[:0:-1]
    rest = run(store.list(webhook.project_id, webhook.id, before=page[-1].number, limit=2))
    assert [delivery.id for delivery in rest] == ids[:1]
    assert run(store.list(queue.project(), webhook.id, before=None, limit=2)) == []
    (claimed, *_) = queue.claim("w", webhook.id, webhook.project_id)
    sequence = claimed.event.sequence
    (shown,) = run(store.of_event(webhook.project_id, sequence))
    assert shown.id == claimed.id
    assert run(store.of_event(queue.project(), sequence)) == []
