"""A queue of deliveries with a clock that the test advances."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.delivery.webhook.signing import new_secret
from headrace.domain.events.identity import IdentityType, lane_of
from headrace.domain.ids import id_of_sequence
from headrace.domain.timestamps import now_us
from headrace.store.contract.deliveries import (
    AttemptFailure,
    AttemptRecord,
    BreakerChange,
    ClaimedDelivery,
    ClaimRequest,
    DeliveryRecord,
    NewWebhook,
    Recorded,
    Subscriber,
)
from headrace.store.queues.sqlite.deliveries import SqliteDeliveries
from tests.support.events import new_event
from tests.support.session import StoreSession

ACTOR = "test"
SECOND_US = 1_000_000
LEADERSHIP_US = 3600 * SECOND_US

_INSERT_SQLITE = (
    "INSERT INTO deliveries (project_id, subscriber_id, due_us, created_us, id, sequence, lane) "
    "SELECT ?1, ?2, ?3, ?4, value ->> 0, value ->> 1, value ->> 2 FROM json_each(?5)"
)
_INSERT_POSTGRES = (
    "INSERT INTO deliveries (project_id, subscriber_id, due_us, created_us, id, sequence, lane, "
    "number) SELECT ?, ?, ?, ?, d ->> 0, (d ->> 1)::bigint, (d ->> 2)::smallint, "
    "(d ->> 3)::bigint FROM json_array_elements(?::json) AS d"
)
_REGISTER = (
    "INSERT INTO workers (owner, epoch, lease_until_us) VALUES (?, nextval('worker_epochs'), ?) "
    "ON CONFLICT DO NOTHING"
)


class Clock:
    """A clock that the test advances."""

    def __init__(self, start_us: int | None = None) -> None:
        self.now_us = now_us() if start_us is None else start_us

    def __call__(self) -> int:
        return self.now_us

    def pass_s(self, seconds: float) -> None:
        self.now_us += round(seconds * SECOND_US)


class Queue:
    """Creates projects, webhooks and deliveries in an open store, and claims by hand.

    Args:
        lanes: whether to hold every lane of a shared store.
    """

    def __init__(self, session: StoreSession, *, lanes: bool = True) -> None:
        self.session = session
        self.clock = Clock()
        self.store = session.store.deliveries
        self.subscribers = session.store.subscribers
        self.embedded = isinstance(self.store, SqliteDeliveries)
        self._numbers = itertools.count(1)
        # The store normally uses the machine's clock; here the test sets it.
        for part in (self.store, self.subscribers):
            part._clock_us = self.clock
        if lanes and not self.embedded:
            self.hold_lanes()

    def hold_lanes(self) -> None:
        """Let this process hold every lane: only the holder claims deliveries."""
        duty = self.session.store.processing.acquire_leadership(
            "processing", "holder", LEADERSHIP_US
        )
        assert self.session.run(duty) is not None

    def lives(self, owner: str) -> None:
        """Register a worker, as the processes do before they claim."""
        if not self.embedded:
            self.session.place.run_sql(_REGISTER, owner, self.clock.now_us + 10**15)

    def dies(self, owner: str) -> None:
        """Report the end of a worker's process to the store, before its leases expire."""
        if self.embedded:
            self.store._is_alive = lambda one: one != owner  # type: ignore[attr-defined]
        else:
            self.session.place.run_sql("DELETE FROM workers WHERE owner = ?", owner)

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

    def deliver(
        self, subscriber_id: str, project_id: int, count: int = 1, *, people: int = 1
    ) -> list[str]:
        """Insert what fan-out inserts: an event and a delivery each; returns the deliveries' ids.

        Events of several people are in several lanes.
        """
        events = []
        for n in range(count):
            person = f"customer-{1 + n % people}"
            lane = lane_of(project_id, IdentityType.EXTERNAL_ID, person)
            event = new_event(project_id=project_id, external_id=person)
            event_id = id_of_sequence(event.sequence, lane, n)
            events.append(msgspec.structs.replace(event, lane=lane, id=event_id))
        assert self.session.accept(*events) == [None] * count
        rows = [
            (str(uuid.uuid4()), event.sequence, event.lane, next(self._numbers)) for event in events
        ]
        insert = _INSERT_SQLITE if self.embedded else _INSERT_POSTGRES
        values = (project_id, subscriber_id, self.clock.now_us, self.clock.now_us)
        self.session.place.run_sql(insert, *values, json.dumps(rows))
        return [row[0] for row in rows]

    def claim(
        self,
        owner: str,
        subscriber_id: str,
        project_id: int,
        limit: int = 10,
        breaker: str | None = None,
    ) -> Sequence[ClaimedDelivery]:
        self.lives(owner)
        change = BreakerChange(subscriber_id, breaker, breaker)
        want = ClaimRequest(subscriber_id, project_id, limit, change)
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
        """Take back expired claims; returns how many."""
        return len(self.session.run(self.store.rescue(limit)))

    def of(self, subscriber: Subscriber) -> Sequence[DeliveryRecord]:
        """Deliveries of a webhook, oldest first."""
        listed = self.store.list(subscriber.project_id, subscriber.id, before=None, limit=1000)
        return [*self.session.run(listed)][::-1]

    def dead_letters(self) -> Sequence[tuple[Any, ...]]:
        """`(delivery id, cause, attempts)` of open dead letters, oldest first."""
        return self.session.place.run_sql(
            "SELECT d.id, l.cause, l.attempts FROM dead_letters AS l "
            "JOIN deliveries AS d ON d.number = l.delivery_number "
            "WHERE l.state = 0 AND l.kind = 'delivery' ORDER BY l.number"
        )


def failure(retry_in_s: float | None = 5.0, cause: str = "server_error") -> AttemptFailure:
    """A failed attempt; None: dead-letter it."""
    retry_in_us = None if retry_in_s is None else round(retry_in_s * SECOND_US)
    return AttemptFailure(cause, "the endpoint returned 500 (server error)", retry_in_us)
