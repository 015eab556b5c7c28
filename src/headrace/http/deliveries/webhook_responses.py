"""Responses about webhooks and deliveries, built from the types of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from headrace.delivery.contract import AttemptOutcome, Failed
from headrace.domain.deliveries.attempt_requests import (
    AttemptRequest,
    WebhookVersion,
    read_response_headers,
    request_of,
)
from headrace.domain.deliveries.breaker import BreakerPolicy, BreakerState
from headrace.domain.deliveries.dead_letters import PER_SECOND_MAX
from headrace.domain.deliveries.own_headers import (
    HEADERS_MAX,
    MASK,
    NAME_CHARACTERS_MAX,
    VALUE_CHARACTERS_MAX,
)
from headrace.domain.deliveries.subscriptions import PATTERNS_MAX
from headrace.domain.ids import uuid_text
from headrace.domain.timestamps import to_text
from headrace.http.routing.schema import EVENT_PATTERN, Description, EventName, Id, Time, about
from headrace.pipeline.delivering.breakers import breaker_of
from headrace.pipeline.delivering.health import Health
from headrace.store.contract.deliveries import Attempt, DeliveryRecord, DeliveryState, Subscriber
from headrace.store.contract.trace import TracedSubscriber

DeliveryStatus = Literal["pending", "delivering", "retrying", "delivered", "dead_lettered"]
_STATUS_NAMES: dict[int, DeliveryStatus] = {
    state.value: state.name.lower()  # type: ignore[misc]
    for state in DeliveryState
}
_WAITING = (DeliveryState.PENDING, DeliveryState.RETRYING)


_URL = about(
    "http or https. Must be a public address unless an operator allows private networks.",
    format="uri",
    maxLength=2048,
    examples=["https://example.com/headrace"],
)
_EVENTS = about(
    "Names, prefixes such as order.*, or * for all events.", minItems=1, maxItems=PATTERNS_MAX
)
_Pattern = Annotated[str, about(**EVENT_PATTERN)]
_Enabled = Annotated[bool | None, about("true also ends a pause of the circuit breaker.")]
_Paused = Annotated[
    bool | None, about("true: deliveries are created and wait until it is false again.")
]
FormatName = Literal["headrace", "cloudevents"]
_Format = Annotated[
    FormatName | None,
    about("Form of the body: that of Headrace (default), or CloudEvents 1.0 in structured mode."),
]
_Headers = Annotated[
    dict[
        Annotated[str, about(minLength=1, maxLength=NAME_CHARACTERS_MAX)],
        Annotated[str, about(minLength=1, maxLength=VALUE_CHARACTERS_MAX)],
    ]
    | None,
    about(
        "Sent with every request, by name. Not `Host`, `Connection` and other headers of the "
        "connection, and none that begins with `Content-`, `Proxy-` or `Webhook-`. A change "
        "replaces all of them; there `***` keeps the value that is stored.",
        maxProperties=HEADERS_MAX,
        examples=[{"Authorization": "Bearer s3cr3t"}],
    ),
]


class WebhookCreate(msgspec.Struct, forbid_unknown_fields=True):
    """A new webhook."""

    url: Annotated[str, _URL]
    events: Annotated[list[_Pattern], _EVENTS]
    description: Description | None = None
    enabled: bool | None = None
    paused: _Paused = None
    headers: _Headers = None
    format: _Format = None


class WebhookUpdate(msgspec.Struct, forbid_unknown_fields=True):
    """A change of a webhook. Fields that are absent or null are not changed."""

    url: Annotated[str | None, _URL] = None
    events: Annotated[list[_Pattern] | None, _EVENTS] = None
    description: Description | None = None
    enabled: _Enabled = None
    paused: _Paused = None
    per_second: Annotated[
        int | None,
        about(
            "Only with `paused: false`: deliveries a second until none is due. As fast as the "
            "endpoint accepts them if omitted.",
            minimum=1,
            maximum=PER_SECOND_MAX,
        ),
    ] = None
    headers: _Headers = None
    format: _Format = None


class WebhookHealth(msgspec.Struct, kw_only=True):
    """How deliveries to a webhook go, from its last 20 deliveries.

    `enabled`: nothing was attempted yet. `failing`: the newest one or a fifth of them failed.
    `paused`: on request.
    """

    state: Literal["enabled", "healthy", "failing", "paused", "disabled"]
    reason: Annotated[str | None, about("Why it is failing, paused or disabled; null otherwise.")]
    failed: Annotated[int, about("How many of the deliveries failed.")]
    attempted: Annotated[int, about("How many of the deliveries were attempted.")]
    failing_since: Annotated[Time | None, about("Null unless it is failing.")]


class WebhookResponse(msgspec.Struct, kw_only=True):
    """A webhook, without its secret."""

    id: Id
    url: str
    events: list[str]
    description: str
    format: FormatName
    headers: Annotated[dict[str, str], about("Own headers by name, with `***` for each value.")]
    enabled: bool
    disabled_reason: Annotated[str | None, about("Null while it is enabled.")]
    health: WebhookHealth
    paused: Annotated[bool, about("Whether deliveries wait because it was paused on request.")]
    paused_at: Annotated[Time | None, about("Since when; null while it is not paused.")]
    per_second: Annotated[
        int | None, about("Set after a pause, until no delivery is due: the rate that was chosen.")
    ]
    paused_until: Annotated[
        Time | None,
        about(
            "Set while the circuit breaker pauses deliveries because the endpoint fails; at this "
            "time one delivery is attempted."
        ),
    ]
    previous_secret_until: Annotated[
        Time | None, about("Set during a rotation: until then the previous secret signs, too.")
    ]
    created_at: Time
    updated_at: Time


class WebhookCreated(WebhookResponse, kw_only=True):
    """A new webhook with its secret, which is shown only here."""

    secret: str


class WebhookSecretResponse(msgspec.Struct):
    """A new secret, which is shown only here."""

    id: Id
    secret: str
    previous_secret_until: Time


class DeliveryAttemptResponse(msgspec.Struct, kw_only=True):
    """One attempt; without `cause` it succeeded."""

    number: int
    at: Time
    latency_ms: float
    http_status: Annotated[int | None, about("Null if there was no response.")]
    cause: str | None
    error: str | None
    request: Annotated[
        AttemptRequest | None,
        about("Null if none was made, or the webhook has changed too often since."),
    ]
    response_headers: Annotated[
        dict[str, str] | None,
        about(
            "The first 2,048 characters, names in lower case, `***` for cookies and other secrets; "
            "null if there was no response."
        ),
    ]
    response: Annotated[str | None, about("Response body (truncated).")]
    note: Annotated[
        str | None, about("Problem with the response, although the event was delivered.")
    ]


class DeliveryResponse(msgspec.Struct, kw_only=True):
    """One event for one webhook; `id` is the `webhook-id` header of its attempts."""

    id: Id
    event_id: Annotated[Id | None, about("Null once the event is gone.")]
    event: EventName | None
    status: DeliveryStatus
    created_at: Time
    finished_at: Annotated[Time | None, about("Null while it is not finished.")]
    next_attempt_at: Annotated[
        Time | None, about("Null if no attempt is scheduled, as while paused.")
    ]
    last_error: str | None
    attempts: Annotated[list[DeliveryAttemptResponse], about("Oldest first, the last 30.")]


class WebhookTestResponse(msgspec.Struct, kw_only=True):
    """Result of a test call."""

    delivered: bool
    latency_ms: float
    http_status: int | None
    cause: str | None
    error: str | None
    response: str | None
    note: Annotated[str | None, about("Problem with the response, although the call succeeded.")]


def _health(health: Health) -> dict[str, object]:
    since_us = health.failing_since_us
    return {
        "state": health.state,
        "reason": health.why or None,
        "failed": health.failed,
        "attempted": health.attempted,
        "failing_since": None if since_us is None else to_text(since_us),
    }


def _webhook_fields(webhook: Subscriber, health: Health) -> dict[str, object]:
    breaker = breaker_of(webhook.breaker, BreakerPolicy())
    failing = breaker.state is BreakerState.OPEN
    until_us = webhook.previous_until_us
    return {
        "id": webhook.id,
        "url": webhook.target,
        "events": list(webhook.events),
        "description": webhook.description,
        "format": webhook.format.value,
        "headers": dict.fromkeys(webhook.header_names, MASK),
        "enabled": webhook.enabled,
        "disabled_reason": webhook.disabled_reason,
        "health": _health(health),
        "paused": webhook.paused_us is not None,
        "paused_at": None if webhook.paused_us is None else to_text(webhook.paused_us),
        "per_second": webhook.resume_per_second,
        "paused_until": to_text(breaker.pause_until_us) if failing else None,
        "previous_secret_until": None if until_us is None else to_text(until_us),
        "created_at": to_text(webhook.created_us),
        "updated_at": to_text(webhook.updated_us),
    }


def webhook_response(webhook: Subscriber, health: Health) -> WebhookResponse:
    """A webhook as the API shows it."""
    return msgspec.convert(_webhook_fields(webhook, health), WebhookResponse)


def webhook_created(webhook: Subscriber, health: Health, secret: str) -> WebhookCreated:
    """A new webhook and its secret."""
    return msgspec.convert(_webhook_fields(webhook, health) | {"secret": secret}, WebhookCreated)


def delivery_response(
    delivery: DeliveryRecord, subscriber: Subscriber | TracedSubscriber | None
) -> DeliveryResponse:
    """A delivery as the API shows it; the subscriber is None once it is deleted."""
    return DeliveryResponse(**delivery_fields(delivery, subscriber))


def delivery_fields(
    delivery: DeliveryRecord, subscriber: Subscriber | TracedSubscriber | None
) -> dict[str, Any]:
    """The fields of `DeliveryResponse`."""
    finished_us = delivery.finished_us
    paused = subscriber is not None and subscriber.paused_us is not None
    scheduled = delivery.state in _WAITING and not paused
    versions = () if subscriber is None else subscriber.versions
    return {
        "id": delivery.id,
        "event_id": None if delivery.event_id is None else uuid_text(delivery.event_id),
        "event": delivery.event,
        "status": _STATUS_NAMES[delivery.state],
        "created_at": to_text(delivery.created_us),
        "finished_at": None if finished_us is None else to_text(finished_us),
        "next_attempt_at": to_text(delivery.due_us) if scheduled else None,
        "last_error": delivery.last_error,
        "attempts": [_attempt_response(one, delivery.id, versions) for one in delivery.attempts],
    }


def _attempt_response(
    attempt: Attempt, delivery_id: str, versions: Sequence[WebhookVersion]
) -> DeliveryAttemptResponse:
    return DeliveryAttemptResponse(
        number=attempt.number,
        at=to_text(attempt.at_us),
        latency_ms=attempt.duration_us / 1000,
        http_status=attempt.http_status,
        cause=attempt.cause,
        error=attempt.error,
        request=request_of(versions, attempt.version, delivery_id, attempt.signed_s),
        response_headers=read_response_headers(attempt.response_headers),
        response=attempt.excerpt,
        note=attempt.note,
    )


def test_call_response(outcome: AttemptOutcome) -> WebhookTestResponse:
    """The outcome of a test call as the API shows it."""
    failed = outcome if isinstance(outcome, Failed) else None
    response = outcome.response
    return WebhookTestResponse(
        delivered=failed is None,
        latency_ms=outcome.duration_us / 1000,
        http_status=None if response is None else response.http_status,
        cause=None if failed is None else failed.cause.value,
        error=None if failed is None else failed.message,
        response=None if response is None else response.excerpt,
        note=None if response is None or failed is not None else response.note,
    )
