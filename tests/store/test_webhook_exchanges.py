"""What is kept of the request and the response of an attempt."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headrace.delivery.contract import Exchange, WebhookTarget
from headrace.store.contract.deliveries import (
    AttemptFailure,
    ClaimedDelivery,
    Subscriber,
    WebhookChange,
)
from tests.support.deliveries import ACTOR, Queue, failure
from tests.support.session import StoreSession


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


def claim(queue: Queue, webhook: Subscriber) -> ClaimedDelivery:
    (claimed,) = queue.claim("w", webhook.id, webhook.project_id)
    return claimed


def record(
    queue: Queue,
    claimed: ClaimedDelivery,
    exchange: Exchange | None,
    failed: AttemptFailure | None = None,
) -> None:
    attempt = msgspec.structs.replace(queue.attempt(claimed, failed), exchange=exchange)
    queue.session.run(queue.store.record("w", [attempt]))


def test_attempts_keep_their_version_and_the_response_headers(queue: Queue) -> None:
    webhook = queue.webhook(queue.project(), headers=(("X-Key", "one"),))
    queue.deliver(webhook.id, webhook.project_id)
    first = claim(queue, webhook)
    # The claim was made before the change.
    change(queue, webhook, url="https://example.org/new")
    record(queue, first, Exchange(signed_s=17, response_headers="server: x"), failure(0))
    second = claim(queue, webhook)
    assert isinstance(second.target, WebhookTarget)
    assert second.target.version == 2
    record(queue, second, Exchange(signed_s=18, response_headers=""), failure(0))
    record(queue, claim(queue, webhook), None, failure(0))

    (shown,) = queue.of(webhook)
    assert [(one.version, one.signed_s, one.response_headers) for one in shown.attempts] == [
        (1, 17, "server: x"),
        (2, 18, None),
        (None, None, None),
    ]
    found = queue.session.run(queue.subscribers.get(webhook.project_id, webhook.id))
    assert found is not None
    assert [(one.number, one.url, one.header_names) for one in found.versions] == [
        (1, "https://example.com/hook", ("X-Key",)),
        (2, "https://example.org/new", ("X-Key",)),
    ]


def test_only_what_a_request_depends_on_makes_a_version(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    for fields in ({"description": "a"}, {"enabled": False}, {"paused": True}):
        assert len(change(queue, webhook, **fields).versions) == 1
    assert len(change(queue, webhook, headers=(("X-A", "1"),)).versions) == 2
    # Values are not shown, so they do not matter.
    assert len(change(queue, webhook, headers=(("X-A", "2"),)).versions) == 2
    assert len(change(queue, webhook, headers=()).versions) == 3


def test_an_attempt_whose_worker_died_has_no_request(queue: Queue) -> None:
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id)
    claim(queue, webhook)
    queue.dies("w")
    assert queue.rescue() == 1
    (shown,) = queue.of(webhook)
    assert [(one.cause, one.version) for one in shown.attempts] == [("worker_lost", None)]
