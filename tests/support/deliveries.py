"""A queue of deliveries whose clock belongs to the test."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any

from headrace.delivery.webhook.signing import new_secret
from headrace.domain.timestamps import now_us
from headrace.store.contract_delivery import (
    AttemptFailure,
    AttemptRecord,
    BreakerChange,
    ClaimedDelivery,
    DeliveryRecord,
    NewWebhook,
    Recorded,
    Subscriber,
    Want,
)
from tests.store.events import new_event
from tests.store.session import StoreSession

ACTOR = "test"
SECOND_US = 1_000_000
ATTEMPTS_MAX = 14


def attempts_max(_: int) -> int:
    """Attempts of every project."""
    return ATTEMPTS_MAX


class Clock:
    """Stands still until it is moved."""

    def __init__(self, start_us: int | None = None) -> None:
        self.now_us = now_us() if start_us is None else start_us

    def __call__(self) -> int:
        return self.now_us

    def pass_s(self, seconds: float) -> None:
        self.now_us += round(seconds * SECOND_US)


class Queue:
    """Makes projects, webhooks and deliveries in an open store, and claims by hand."""

    def __init__(self, session: StoreSession) -> None:
        self.session = session
        self.clock = Clock()
        self.store = session.store.deliveries
        self.subscribers = session.store.subscribers
        # The store's clock is the machine's; here the test moves it.
        for part in (self.store, self.subscribers):
            part._clock_us = self.clock  # type: ignore[union-attr]

    def project(self, name: str = "") -> int:
        created = self.session.store.projects.create(
            name or uuid.uuid4().hex, self.clock(), actor=ACTOR
        )
        return self.session.run(created).id

    def webhook(self, project_id: int, **changes: Any) -> Subscriber:
        values: dict[str, Any] = {
            "id": str(uuid.uuid4()),
            "project_id": project_id,
            "url": "https://example.com/hook",
            "events": ("*",),
            "description": "",
            "enabled": True,
            "secret": new_secret(),
        }
        webhook = NewWebhook(**values | changes)
        return self.session.run(self.subscribers.create(webhook, actor=ACTOR))

    def deliver(self, subscriber_id: str, project_id: int, count: int = 1) -> list[str]:
        """Insert what fan-out inserts: an event and a delivery each; ids of the deliveries."""
        events = [new_event(project_id=project_id) for _ in range(count)]
        assert self.session.accept(*events) == [None] * count
        rows = [(str(uuid.uuid4()), event.sequence) for event in events]
        self.session.place.run_sql(
            "INSERT INTO deliveries (id, project_id, sequence, subscriber_id, due_us, created_us) "
            "SELECT value ->> 0, ?2, value ->> 1, ?3, ?4, ?4 FROM json_each(?1)",
            *(json.dumps(rows), project_id, subscriber_id, self.clock.now_us),
        )
        return [delivery_id for delivery_id, _ in rows]

    def claim(
        self,
        owner: str,
        subscriber_id: str,
        project_id: int,
        limit: int = 10,
        breaker: str | None = None,
    ) -> Sequence[ClaimedDelivery]:
        change = BreakerChange(subscriber_id, breaker, breaker)
        want = Want(subscriber_id, project_id, limit, change)
        return self.session.run(self.store.claim(owner, [want], limit))

    def record(
        self, owner: str, claimed: ClaimedDelivery, failure: AttemptFailure | None = None
    ) -> Recorded:
        return self.session.run(self.store.record(owner, [self.attempt(claimed, failure)]))

    def attempt(
        self, claimed: ClaimedDelivery, failure: AttemptFailure | None = None
    ) -> AttemptRecord:
        return AttemptRecord(
            claimed=claimed,
            began_us=self.clock(),
            duration_us=1500,
            failure=failure,
            http_status=200 if failure is None else 500,
            excerpt="ok" if failure is None else "no",
        )

    def rescue(self, limit: int = 100) -> int:
        return self.session.run(self.store.rescue(limit, attempts_max))

    def of(self, subscriber: Subscriber) -> Sequence[DeliveryRecord]:
        """Deliveries of a webhook, oldest first."""
        listed = self.store.list(subscriber.project_id, subscriber.id, before=None, limit=1000)
        return [*self.session.run(listed)][::-1]

    def dead_letters(self) -> Sequence[tuple[Any, ...]]:
        """`(delivery id, cause, attempts)` of those that are open, oldest first."""
        return self.session.place.run_sql(
            "SELECT d.id, l.cause, l.attempts FROM dead_letters AS l "
            "JOIN deliveries AS d ON d.number = l.delivery_number "
            "WHERE l.state = 0 AND l.kind = 'delivery' ORDER BY l.number"
        )


def failure(retry_in_s: float | None = 5.0, cause: str = "server_error") -> AttemptFailure:
    """A failed attempt; None: dead-letter it."""
    retry_in_us = None if retry_in_s is None else round(retry_in_s * SECOND_US)
    return AttemptFailure(cause, "the endpoint failed (status 500)", retry_in_us)
