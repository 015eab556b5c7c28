"""Subscribers and their deliveries, in verbs of the domain.

A claim has a lease and a number that is never used twice. Every later write names both its owner
and that number, so a worker that was paused past its lease changes nothing. Leases and due times
use the store's clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, StrEnum

import msgspec

from headrace.delivery.contract import Exchange, HandlerTarget, WebhookTarget
from headrace.domain.deliveries.attempt_requests import WebhookVersion
from headrace.domain.deliveries.body_format import BodyFormat
from headrace.domain.deliveries.own_headers import Headers, WantedHeaders
from headrace.domain.events.event import StoredEvent

#: Webhooks of one project; every event is compared with each of them.
WEBHOOKS_MAX = 200
#: Handlers that one list shows; far more than a deployment has.
HANDLERS_LISTED_MAX = 500
#: How long the old secret still signs after a rotation.
ROTATION_OVERLAP_US = 24 * 3600 * 1_000_000
#: Attempts of one delivery that are kept: a whole run under the largest policy.
ATTEMPTS_KEPT = 30
#: How long deliveries wait for a disabled subscriber before they become dead letters.
DISABLED_WAIT_US = 72 * 3600 * 1_000_000
#: Workers that may crash in a row while they hold a delivery, with no attempt finished; then it is
#: dead-lettered. So many crashes do not hit one delivery by chance (an upgrade, lack of memory),
#: and crashes that it causes must end. At most `ATTEMPTS_KEPT`.
LOSSES_MAX = 20
#: A handler that no worker has registered for so long is disabled, see
#: `Subscribers.announce_handlers`.
HANDLER_UNSEEN_US = 10 * 60 * 1_000_000

#: Reason of a handler that was disabled because no worker has it; enabled again when one has.
NOT_LOADED = "no worker has loaded it"
#: Reason of a subscriber that its owner disabled.
SWITCHED_OFF = "switched off"


class SubscriberKind(StrEnum):
    """How a subscriber is reached."""

    WEBHOOK = "webhook"
    HANDLER = "handler"


class DeliveryState(IntEnum):
    """State of a delivery; stored as its number.

    Fan-out and replay set `pending`; a claim sets `delivering`; recording an attempt, rescue and
    release set the others.
    """

    PENDING = 0
    DELIVERING = 1
    RETRYING = 2
    DELIVERED = 3
    DEAD_LETTERED = 4


class StoreCause(StrEnum):
    """Why a delivery ended without a response of its subscriber.

    Stored in the same column as `headrace.delivery.contract.FailureCause`.
    """

    #: The worker that held it crashed: its attempt has no result and is not counted.
    WORKER_LOST = "worker_lost"
    #: That happened `LOSSES_MAX` times in a row.
    CRASH_LOOP = "crash_loop"
    #: It has crashed processes `CRASHES_MAX` times, the last one with no other work.
    POISON = "poison"
    SUBSCRIBER_DISABLED = "subscriber_disabled"
    SUBSCRIBER_DELETED = "subscriber_deleted"
    #: It was due before the store was restored from a backup, so it may have been made.
    RESTORED = "restored"


class TooManyWebhooksError(Exception):
    """The project has `WEBHOOKS_MAX` webhooks already."""


class Subscriber(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook of a project or a Python handler."""

    #: UUID text.
    id: str
    #: 0 for handlers, which get the events of every project.
    project_id: int
    kind: SubscriberKind
    #: URL of a webhook, name of a handler.
    target: str
    events: tuple[str, ...]
    description: str
    enabled: bool
    #: Why it is not enabled; None while it is.
    disabled_reason: str | None
    #: Secrets that sign now as they are stored, the newest first; empty for handlers.
    secrets: tuple[str, ...]
    #: Until when the second secret also signs; None outside of a rotation.
    previous_until_us: int | None
    #: State of the circuit breaker as `pipeline.delivering.breakers` writes it; None: closed.
    breaker: str | None
    #: Since when its owner keeps its deliveries waiting; None: they are made.
    paused_us: int | None = None
    #: Deliveries a second after a pause, until none is due; None: as fast as it accepts them.
    resume_per_second: int | None = None
    format: BodyFormat = BodyFormat.HEADRACE
    #: Names of its own headers.
    header_names: tuple[str, ...] = ()
    #: Their values as they are stored, see `domain.deliveries.own_headers`.
    header_values: str | None = None
    #: What its requests depended on and depend on, the current version last.
    versions: tuple[WebhookVersion, ...] = ()
    #: Unique among the subscribers of a project, so it is also the cursor of lists.
    created_us: int
    updated_us: int


class NewWebhook(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook to be created, with checked fields."""

    id: str
    project_id: int
    url: str
    events: tuple[str, ...]
    description: str
    enabled: bool
    secret: str
    #: Whether its deliveries wait from the beginning.
    paused: bool = False
    #: Own headers.
    headers: Headers = ()
    format: BodyFormat = BodyFormat.HEADRACE


class WebhookChange(msgspec.Struct, frozen=True, kw_only=True):
    """Checked fields to be changed; None leaves one as it is."""

    url: str | None = None
    events: tuple[str, ...] | None = None
    description: str | None = None
    #: True also resets the breaker: its owner states that it works again.
    enabled: bool | None = None
    #: False ends a pause.
    paused: bool | None = None
    #: With `paused=False`: deliveries a second until none is due; also changes such a rate.
    per_second: int | None = None
    #: All own headers from then on.
    headers: WantedHeaders | None = None
    format: BodyFormat | None = None


class LoadedHandler(msgspec.Struct, frozen=True):
    """A Python handler that a worker has loaded."""

    name: str
    events: tuple[str, ...]


class SubscriberQueue(msgspec.Struct, frozen=True, gc=False):
    """Deliveries of one subscriber and project that are due."""

    subscriber_id: str
    project_id: int
    kind: SubscriberKind
    breaker: str | None
    #: How many, counted up to the requested limit.
    due: int


class QueuePage(msgspec.Struct, frozen=True):
    """Some queues, in the order of their subscribers and projects."""

    queues: Sequence[SubscriberQueue]
    #: Where to continue; None after the last queue.
    next_after: tuple[str, int] | None


class BreakerChange(msgspec.Struct, frozen=True):
    """A breaker to change, unless another worker has changed it."""

    subscriber_id: str
    before: str | None
    after: str | None


class ClaimRequest(msgspec.Struct, frozen=True):
    """How many deliveries of a queue to claim."""

    subscriber_id: str
    project_id: int
    limit: int
    #: The queue is skipped when the breaker is no longer `before`; when something is claimed, it
    #: becomes `after`.
    breaker: BreakerChange


class ClaimedDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery that a worker has claimed."""

    number: int
    id: str
    project_id: int
    subscriber_id: str
    #: From 1; restarts after a replay.
    attempt: int
    #: Fences every later write.
    claim: int
    #: Processes that crashed during its attempts since the last one that had a result. A worker
    #: that crashes with many deliveries counts 1 at most: that only makes each of them a suspect. A
    #: crash of a handler process of its own counts each time.
    crashes: int
    event: StoredEvent
    target: WebhookTarget | HandlerTarget


class AttemptFailure(msgspec.Struct, frozen=True):
    """Why an attempt failed, and what follows."""

    cause: str
    error: str
    #: Time until the next attempt; None: dead-letter it now.
    retry_in_us: int | None
    #: Set when the subscriber is to be disabled: the reason shown to its owner.
    disable_reason: str | None = None
    #: `crashes` of the delivery from now on.
    crashes: int = 0


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How one attempt ended."""

    claimed: ClaimedDelivery
    began_us: int
    duration_us: int
    #: None: delivered.
    failure: AttemptFailure | None
    http_status: int | None
    excerpt: str | None
    #: What could not be read of the response; for a failure that is in its error.
    note: str | None = None
    #: What is kept of the request that was made; None: none was.
    exchange: Exchange | None = None


class Recorded(msgspec.Struct, frozen=True):
    """Outcome of a batch of records."""

    #: Numbers of the deliveries whose claim still held.
    numbers: frozenset[int]
    #: Subscribers whose breaker another worker has changed, with its current state.
    breakers_changed: dict[str, str | None]


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt as it is kept."""

    number: int
    at_us: int
    duration_us: int
    #: None: delivered.
    cause: str | None
    error: str | None
    http_status: int | None
    #: First bytes of the response.
    excerpt: str | None
    #: Version of the webhook, and the seconds in its signature; None: no request was made.
    version: int | None = None
    signed_s: int | None = None
    #: First headers of the response, `name: value` a line.
    response_headers: str | None = None
    #: What could not be read of the response; see `AttemptRecord`.
    note: str | None = None


class DeliveryRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery with its history."""

    number: int
    id: str
    subscriber_id: str
    #: None when the event is removed.
    event_id: bytes | None
    event: str | None
    state: DeliveryState
    attempt: int
    due_us: int
    created_us: int
    finished_us: int | None
    last_error: str | None
    #: Oldest first, at most `ATTEMPTS_KEPT`.
    attempts: Sequence[Attempt]
    #: When it was last sent again; None: never.
    resent_us: int | None = None
    #: Who did; None when that job is no longer kept.
    resent_by: str | None = None
