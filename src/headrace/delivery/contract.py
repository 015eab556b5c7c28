"""The contract of deliverer and transports: one delivery in, one outcome out.

A transport makes exactly one attempt and never decides whether there is a next one. It raises only
`asyncio.CancelledError`: every other end of an attempt is an `AttemptOutcome`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Protocol

from headrace.domain.deliveries.body_format import BodyFormat
from headrace.domain.events.event import StoredEvent


class FailureCause(StrEnum):
    """Why an attempt failed; a closed list, stored with the attempt."""

    #: The receiver will never accept this event (4xx except 408, 410, 425, 429).
    REJECTED = "rejected"
    #: 410: the receiver is permanently gone.
    GONE = "gone"
    #: The receiver responded with a redirect, which is never followed.
    REDIRECTED = "redirected"
    #: 429, 408 or 425: the receiver asks for a later attempt.
    THROTTLED = "throttled"
    #: 5xx.
    SERVER_ERROR = "server_error"
    #: No HTTP response, or an invalid final status (below 200 or above 599).
    PROTOCOL_ERROR = "protocol_error"
    #: The stored URL breaks the rules for URLs.
    URL_REFUSED = "url_refused"
    #: The host is, or now resolves to, an address that must not be called.
    ADDRESS_REFUSED = "address_refused"
    NAME_NOT_RESOLVED = "name_not_resolved"
    CONNECT_FAILED = "connect_failed"
    #: The TLS handshake failed, including for a wrong or expired certificate.
    TLS_FAILED = "tls_failed"
    #: The connection broke before there was a response.
    CONNECTION_LOST = "connection_lost"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    #: The stored signing secret, or the own headers, cannot be read.
    SECRET_UNUSABLE = "secret_unusable"  # noqa: S105 - the name of a cause
    #: This process does not have the key that the secret or the own headers are sealed with.
    SECRET_SEALED = "secret_sealed"  # noqa: S105 - the name of a cause
    #: A handler raised.
    HANDLER_RAISED = "handler_raised"
    #: A handler raised `Permanent`.
    HANDLER_PERMANENT = "handler_permanent"
    #: No handler of that name is loaded in this process.
    HANDLER_MISSING = "handler_missing"
    #: The process that ran only this handler ended during the call.
    HANDLER_DIED = "handler_died"
    #: Earlier calls of the handler are past their deadline and have still not returned.
    HANDLER_STUCK = "handler_stuck"
    #: A bug in Headrace.
    INTERNAL = "internal"

    @property
    def permanent(self) -> bool:
        """Whether a retry could not succeed, so that none is made."""
        return self in _PERMANENT

    @property
    def subscriber_down(self) -> bool:
        """Whether it counts for the breaker of the subscriber.

        A receiver that rejects one event is up. A bug in Headrace says nothing about it.
        """
        return self in _SUBSCRIBER_DOWN


_PERMANENT = frozenset(
    {
        FailureCause.REJECTED,
        FailureCause.GONE,
        FailureCause.REDIRECTED,
        FailureCause.URL_REFUSED,
        FailureCause.ADDRESS_REFUSED,
        FailureCause.SECRET_UNUSABLE,
        FailureCause.HANDLER_PERMANENT,
    }
)
_SUBSCRIBER_DOWN = frozenset(
    {
        FailureCause.THROTTLED,
        FailureCause.SERVER_ERROR,
        FailureCause.PROTOCOL_ERROR,
        FailureCause.NAME_NOT_RESOLVED,
        FailureCause.CONNECT_FAILED,
        FailureCause.TLS_FAILED,
        FailureCause.CONNECTION_LOST,
        FailureCause.DEADLINE_EXCEEDED,
        FailureCause.HANDLER_MISSING,
        FailureCause.HANDLER_STUCK,
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookTarget:
    """Target of a webhook, as stored with the subscriber."""

    url: str
    #: `whsec_` secrets, sealed or in plain, the newest first; two while a rotation overlaps.
    secrets: tuple[str, ...]
    #: Names of its own headers.
    header_names: tuple[str, ...] = ()
    #: Their values, sealed or in plain; None without any.
    header_values: str | None = None
    format: BodyFormat = BodyFormat.HEADRACE
    #: Of the webhook; kept with the attempt.
    version: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class HandlerTarget:
    """Target of a Python handler: the name it is registered by."""

    name: str


class Isolation(IntEnum):
    """Where a handler is called, by the crashes of its delivery."""

    #: In the worker.
    NONE = 0
    #: In a separate process that makes one call at a time.
    SHARED = 1
    #: In such a process without earlier calls: if it crashes, this call caused it.
    NEW = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """One event for one subscriber, at one attempt."""

    #: UUID text; the same over all attempts, so that receivers can detect repeats.
    id: str
    #: From 1.
    attempt: int
    event: StoredEvent
    target: WebhookTarget | HandlerTarget
    #: Ignored for webhooks, which run no foreign code.
    isolation: Isolation = Isolation.NONE


@dataclass(frozen=True, kw_only=True, slots=True)
class EndpointResponse:
    """The stored part of a webhook's response."""

    http_status: int
    #: The beginning of the body, at most `EXCERPT_BYTES_MAX` in UTF-8, safe to show.
    excerpt: str
    #: What could not be read of the response; it does not change the outcome.
    note: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Exchange:
    """What is kept of a request that was made, besides its response's body."""

    #: The seconds in its signature.
    signed_s: int
    #: First headers of the response, `name: value` a line; empty without a response.
    response_headers: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivered:
    """The subscriber accepted the event. Handlers have no response."""

    duration_us: int
    response: EndpointResponse | None = None
    #: None for handlers.
    exchange: Exchange | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """The subscriber did not accept the event."""

    cause: FailureCause
    #: One sentence, safe to show; without secrets and the URL.
    message: str
    duration_us: int
    response: EndpointResponse | None = None
    #: What the receiver asked for, 0 up to 24 hours; None when it asked for nothing.
    retry_after_s: float | None = None
    #: None for handlers, and when no request could be made.
    exchange: Exchange | None = None

    @property
    def permanent(self) -> bool:
        """Whether the delivery is dead-lettered at once."""
        return self.cause.permanent

    @property
    def disable_subscriber(self) -> bool:
        """Whether the subscriber is disabled until it is enabled again."""
        return self.cause is FailureCause.GONE


AttemptOutcome = Delivered | Failed


class DeliveryError(Exception):
    """An attempt cannot be made or finished; becomes a `Failed` at the edge of a transport.

    Attributes:
        cause: entry of the closed list; knows whether it is permanent.
    """

    def __init__(self, cause: FailureCause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class Transport(Protocol):
    """One way to reach subscribers."""

    async def attempt(self, delivery: Delivery) -> AttemptOutcome:
        """Make one attempt, within the transport's own deadline."""
        ...

    async def close(self) -> None:
        """Release connections and threads; cancel attempts still running before."""
        ...
