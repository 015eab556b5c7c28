"""What the deliverer and the transports agree on: one delivery in, one outcome out.

A transport makes exactly one attempt and never decides whether there is a next one. It raises
nothing but `asyncio.CancelledError`: every way an attempt can end is an `AttemptOutcome`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Protocol

from headrace.domain.events.event import StoredEvent


class FailureCause(StrEnum):
    """Every reason for which an attempt fails; a closed list, stored with the attempt."""

    #: The receiver said that it will never take this event (4xx but 408, 410, 425, 429).
    REJECTED = "rejected"
    #: 410: the receiver is gone for good.
    GONE = "gone"
    #: The receiver answered with a redirect, which is never followed.
    REDIRECTED = "redirected"
    #: 429, 408 or 425: the receiver asks for a later attempt.
    THROTTLED = "throttled"
    #: 5xx.
    SERVER_ERROR = "server_error"
    #: No HTTP answer, or a status that no final answer has (below 200 or above 599).
    PROTOCOL_ERROR = "protocol_error"
    #: The stored URL breaks the rules for URLs.
    URL_REFUSED = "url_refused"
    #: The host is, or now resolves to, an address that must not be called.
    ADDRESS_REFUSED = "address_refused"
    NAME_NOT_RESOLVED = "name_not_resolved"
    CONNECT_FAILED = "connect_failed"
    #: The TLS handshake failed, a wrong or expired certificate included.
    TLS_FAILED = "tls_failed"
    #: The connection broke before there was an answer.
    CONNECTION_LOST = "connection_lost"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    #: The stored signing secret cannot be read.
    SECRET_UNUSABLE = "secret_unusable"  # noqa: S105 - the name of a cause
    #: A handler raised.
    HANDLER_RAISED = "handler_raised"
    #: A handler raised `Permanent`.
    HANDLER_PERMANENT = "handler_permanent"
    #: No handler of that name is loaded in this process.
    HANDLER_MISSING = "handler_missing"
    #: The process that ran the handler, and nothing else, ended during the call.
    HANDLER_DIED = "handler_died"
    #: Earlier calls of the handler are past their deadline and have still not returned.
    HANDLER_STUCK = "handler_stuck"
    #: A fault of Headrace itself.
    INTERNAL = "internal"

    @property
    def permanent(self) -> bool:
        """Whether another attempt could not end otherwise, so that none is made."""
        return self in _PERMANENT

    @property
    def subscriber_down(self) -> bool:
        """Whether it speaks against the subscriber as a whole, and so counts for its breaker.

        A receiver that refuses one event is up. A fault of ours says nothing about it.
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
    """Where a webhook goes, as stored with the subscriber."""

    url: str
    #: `whsec_` secrets, the newest first; two while a rotation overlaps.
    secrets: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class HandlerTarget:
    """Which Python handler is called: the name it is registered by."""

    name: str


class Isolation(IntEnum):
    """Where a handler is called, by how much harm it is suspected of."""

    #: In the worker.
    NONE = 0
    #: In a process beside the worker that makes one call at a time.
    SHARED = 1
    #: In such a process that has made no call before: if it dies, this call did it.
    NEW = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """One event for one subscriber, at one attempt."""

    #: UUID text; the same over all attempts, so that receivers can tell repeats.
    id: str
    #: From 1.
    attempt: int
    event: StoredEvent
    target: WebhookTarget | HandlerTarget
    #: Of no meaning for webhooks: they run no code of others.
    isolation: Isolation = Isolation.NONE


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a webhook answered, as far as it is kept."""

    http_status: int
    #: The beginning of the body, at most `EXCERPT_BYTES_MAX` in UTF-8, fit to be shown.
    excerpt: str
    #: What could not be read of the answer; it changes no outcome.
    note: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivered:
    """The subscriber took the event. Handlers have no answer."""

    duration_us: int
    answer: Answer | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """The subscriber did not take the event."""

    cause: FailureCause
    #: One sentence, fit to be shown; free of secrets and of the URL.
    message: str
    duration_us: int
    answer: Answer | None = None
    #: What the receiver asked for, 0 up to 24 hours; None when it asked for nothing.
    retry_after_s: float | None = None

    @property
    def permanent(self) -> bool:
        """Whether the delivery is dead-lettered at once."""
        return self.cause.permanent

    @property
    def disable_subscriber(self) -> bool:
        """Whether the subscriber gets nothing any more until somebody enables it again."""
        return self.cause is FailureCause.GONE


AttemptOutcome = Delivered | Failed


class DeliveryError(Exception):
    """An attempt cannot be made or finished; becomes a `Failed` at the edge of a transport.

    Attributes:
        cause: which entry of the closed list; knows whether it is permanent.
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
        """Let go of connections and threads; attempts still running are cancelled first."""
        ...
