"""Webhooks and handlers: stored, changed, rotated, audited; workers notice every change."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.domain.deliveries.own_headers import UnknownHeaderError
from headrace.store.contract.deliveries import (
    HANDLER_UNSEEN_US,
    NOT_LOADED,
    ROTATION_OVERLAP_US,
    SWITCHED_OFF,
    WEBHOOKS_MAX,
    LoadedHandler,
    Subscriber,
    SubscriberKind,
    TooManyWebhooksError,
    WebhookChange,
)
from tests.support.deliveries import ACTOR, Queue
from tests.support.session import StoreSession

OPEN_BREAKER = '{"state":"open","generation":1}'


@pytest.fixture
def queue(session: StoreSession) -> Queue:
    return Queue(session)


def version(queue: Queue) -> int:
    return queue.session.run(queue.subscribers.version())


def audited(queue: Queue) -> list[tuple[str, dict[str, Any]]]:
    rows = queue.session.place.run_sql(
        "SELECT action, detail FROM audit WHERE action NOT LIKE 'project.%' ORDER BY id"
    )
    return [(action, json.loads(detail)) for action, detail in rows]


def change(queue: Queue, webhook: Subscriber, **fields: Any) -> Subscriber:
    changed = queue.session.run(
        queue.subscribers.update(
            webhook.project_id, webhook.id, WebhookChange(**fields), actor=ACTOR
        )
    )
    assert changed is not None
    return changed


def announce(queue: Queue, *handlers: LoadedHandler, running_since_us: int = 0) -> list[str]:
    return [
        *queue.session.run(
            queue.subscribers.announce_handlers(handlers, running_since_us=running_since_us)
        )
    ]


def handlers(queue: Queue) -> dict[str, tuple[Any, ...]]:
    rows = queue.session.place.run_sql(
        "SELECT target, events, enabled, disabled_reason FROM subscribers WHERE kind = 'handler'"
    )
    return {target: tuple(rest) for target, *rest in rows}


def test_webhook_is_stored_as_it_was_created(queue: Queue) -> None:
    project = queue.project()
    webhook = queue.webhook(project, events=("order.*", "x"), description="books", secret="whsec_a")
    assert webhook.kind is SubscriberKind.WEBHOOK
    assert webhook.secrets == ("whsec_a",)
    assert webhook.enabled
    found = queue.session.run(queue.subscribers.get(project, webhook.id))
    assert found == webhook


def test_changes_of_own_headers_are_audited_by_name(queue: Queue) -> None:
    webhook = queue.webhook(queue.project(), headers=(("X-A", "one"), ("X-B", "two")))
    assert webhook.header_names == ("X-A", "X-B")
    assert change(queue, webhook, headers=(("X-A", "one"), ("X-B", None))) == webhook
    changed = change(queue, webhook, headers=(("X-A", "three"),))
    assert (changed.header_names, changed.header_values) == (("X-A",), '["three"]')
    assert change(queue, webhook, headers=()).header_values is None
    assert [
        detail["changes"] for action, detail in audited(queue) if action == "webhook.update"
    ] == [
        {"headers": {"from": ["X-A", "X-B"], "to": ["X-A"]}},
        {"headers": {"from": ["X-A"], "to": []}},
    ]
    with pytest.raises(UnknownHeaderError):
        change(queue, webhook, headers=(("X-A", None),))


def test_another_project_finds_nothing(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    stranger, run, store = queue.project(), queue.session.run, queue.subscribers
    assert run(store.get(stranger, webhook.id)) is None
    assert run(store.update(stranger, webhook.id, WebhookChange(), actor=ACTOR)) is None
    assert run(store.rotate_secret(stranger, webhook.id, "whsec_b", actor=ACTOR)) is None
    assert not run(store.delete(stranger, webhook.id, actor=ACTOR))
    assert run(store.list(stranger, before=None, limit=10)) == []
    assert run(store.get(webhook.project_id, webhook.id)) == webhook


def test_a_list_pages_through_webhooks_of_one_microsecond(queue: Queue) -> None:
    project = queue.project()
    made = [queue.webhook(project).id for _ in range(5)]
    listed: list[str] = []
    before = None
    while page := queue.session.run(queue.subscribers.list(project, before=before, limit=2)):
        listed += [webhook.id for webhook in page]
        before = page[-1].created_us
    assert listed == made[::-1]


def test_number_of_webhooks_is_limited(queue: Queue) -> None:
    project = queue.project()
    for _ in range(WEBHOOKS_MAX):
        queue.webhook(project)
    before = version(queue)
    with pytest.raises(TooManyWebhooksError):
        queue.webhook(project)
    assert version(queue) == before
    queue.webhook(queue.project())


def test_only_what_is_sent_changes(queue: Queue) -> None:
    webhook = queue.webhook(queue.project(), description="a")
    queue.clock.pass_s(1)
    changed = change(queue, webhook, url="https://example.org/")
    assert (changed.target, changed.description) == ("https://example.org/", "a")
    assert changed.updated_us > webhook.updated_us
    assert changed.created_us == webhook.created_us


def test_every_change_is_audited_and_noticed(queue: Queue) -> None:
    seen = [version(queue)]
    webhook = queue.webhook(queue.project())
    seen.append(version(queue))
    change(queue, webhook, description="b", enabled=True)
    seen.append(version(queue))
    rotate = queue.subscribers.rotate_secret(webhook.project_id, webhook.id, "s", actor=ACTOR)
    queue.session.run(rotate)
    seen.append(version(queue))
    queue.session.run(queue.subscribers.delete(webhook.project_id, webhook.id, actor=ACTOR))
    seen.append(version(queue))
    assert seen == sorted(set(seen))
    actions = [action for action, _ in audited(queue)]
    assert actions == [
        "webhook.create",
        "webhook.update",
        "webhook.rotate_secret",
        "webhook.delete",
    ]
    assert audited(queue)[1][1]["changes"] == {"description": {"from": "", "to": "b"}}


def test_no_secret_is_audited(queue: Queue) -> None:
    webhook = queue.webhook(queue.project(), secret="whsec_one")
    rotate = queue.subscribers.rotate_secret(
        webhook.project_id, webhook.id, "whsec_two", actor=ACTOR
    )
    queue.session.run(rotate)
    assert "whsec" not in json.dumps(audited(queue))


def test_change_to_the_current_values_changes_nothing(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    before = version(queue)
    queue.clock.pass_s(1)
    assert change(queue, webhook, url=webhook.target, enabled=True) == webhook
    assert version(queue) == before


def test_disabling_and_enabling(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    off = change(queue, webhook, enabled=False)
    assert (off.enabled, off.disabled_reason) == (False, SWITCHED_OFF)
    on = change(queue, webhook, enabled=True)
    assert (on.enabled, on.disabled_reason) == (True, None)


@pytest.mark.parametrize("fields", [{"enabled": True}, {"url": "https://example.org/"}])
def test_its_owner_closes_the_breaker(queue: Queue, fields: dict[str, Any]) -> None:
    webhook = queue.webhook(queue.project())
    queue.session.place.run_sql(
        "UPDATE subscribers SET breaker = ? WHERE id = ?", OPEN_BREAKER, webhook.id
    )
    assert change(queue, webhook, description="x").breaker == OPEN_BREAKER
    assert change(queue, webhook, **fields).breaker is None


def test_both_secrets_sign_for_a_day(queue: Queue) -> None:
    webhook = queue.webhook(queue.project(), secret="whsec_one")

    def rotate(secret: str) -> Subscriber:
        rotated = queue.session.run(
            queue.subscribers.rotate_secret(webhook.project_id, webhook.id, secret, actor=ACTOR)
        )
        assert rotated is not None
        return rotated

    rotated = rotate("whsec_two")
    assert rotated.secrets == ("whsec_two", "whsec_one")
    assert rotated.previous_until_us == queue.clock() + ROTATION_OVERLAP_US
    queue.clock.now_us += ROTATION_OVERLAP_US - 1
    assert len(change(queue, webhook).secrets) == 2
    queue.clock.now_us += 1
    assert change(queue, webhook).secrets == ("whsec_two",)
    assert change(queue, webhook).previous_until_us is None
    # Never more than two, even when rotated twice in a day.
    rotate("whsec_three")
    assert rotate("whsec_four").secrets == ("whsec_four", "whsec_three")


def test_a_handler_is_a_subscriber_of_every_project(queue: Queue) -> None:
    first, second = announce(queue, LoadedHandler("a.f", ("x.*",)), LoadedHandler("a.g", ("*",)))
    assert first != second
    before = version(queue)
    assert announce(queue, LoadedHandler("a.f", ("x.*",))) == [first]
    assert version(queue) == before
    assert handlers(queue) == {"a.f": ('["x.*"]', 1, None), "a.g": ('["*"]', 1, None)}
    rules = queue.session.run(queue.session.store.processing.subscriber_rules())
    assert rules[0] == before
    assert {(rule.id, rule.project_id, rule.events) for rule in rules[1]} == {
        (first, 0, ("x.*",)),
        (second, 0, ("*",)),
    }


def test_handlers_are_listed_by_name_and_webhooks_are_not_among_them(queue: Queue) -> None:
    announce(queue, LoadedHandler("b.g", ("*",)), LoadedHandler("a.f", ("x.*", "y")))
    listed = queue.session.run(queue.session.store.subscribers.handlers())
    assert [(each.target, each.events, each.enabled) for each in listed] == [
        ("a.f", ("x.*", "y"), True),
        ("b.g", ("*",), True),
    ]
    assert {each.project_id for each in listed} == {0}


def test_changed_patterns_of_a_handler_are_stored(queue: Queue) -> None:
    announce(queue, LoadedHandler("a.f", ("x",)))
    before = version(queue)
    announce(queue, LoadedHandler("a.f", ("y",)))
    assert handlers(queue)["a.f"][0] == '["y"]'
    assert version(queue) > before


def test_unloaded_handler_is_disabled_and_enabled_again(queue: Queue) -> None:
    announce(queue, LoadedHandler("a.f", ("x",)), LoadedHandler("a.g", ("x",)))
    queue.clock.now_us += HANDLER_UNSEEN_US - 1
    announce(queue, LoadedHandler("a.g", ("x",)))
    assert handlers(queue)["a.f"][1:] == (1, None)
    queue.clock.now_us += 1
    announce(queue, LoadedHandler("a.g", ("x",)))
    assert handlers(queue)["a.f"][1:] == (0, NOT_LOADED)
    assert handlers(queue)["a.g"][1:] == (1, None)
    announce(queue, LoadedHandler("a.f", ("x",)))
    assert handlers(queue)["a.f"][1:] == (1, None)


def test_after_a_downtime_handlers_get_the_same_grace_period(queue: Queue) -> None:
    announce(queue, LoadedHandler("a.f", ("x",)))
    queue.clock.now_us += 10 * HANDLER_UNSEEN_US
    started_us = queue.clock()
    announce(queue, LoadedHandler("a.g", ("x",)), running_since_us=started_us)
    assert handlers(queue)["a.f"][1:] == (1, None)
    queue.clock.now_us += HANDLER_UNSEEN_US
    announce(queue, LoadedHandler("a.g", ("x",)), running_since_us=started_us)
    assert handlers(queue)["a.f"][1:] == (0, NOT_LOADED)
