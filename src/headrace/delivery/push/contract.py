"""The contract of the sending loop and transports of push: one push in, one outcome out.

It fits Web Push, FCM and APNs. A transport makes exactly one attempt. It raises only
`asyncio.CancelledError` and what `before_hand_over` raises: every other end of an attempt is a
`PushOutcome`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from headrace.domain.push.outcomes import PushResult

#: Writes and commits that an attempt has started. Awaited when a connection is ready and before
#: anything is sent: if the process crashes before this returns, the push was not sent; if it
#: crashes after, that is unknown.
BeforeHandOver = Callable[[], Awaitable[None]]


class Urgency(StrEnum):
    """How soon a device should be woken (RFC 8030 5.3). FCM and APNs have two priorities."""

    VERY_LOW = "very-low"
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


@dataclass(frozen=True, kw_only=True, slots=True)
class WebPushTarget:
    """A subscription of a browser."""

    endpoint: str
    #: Public keys of the browser, base64url.
    p256dh: str
    auth: str
    #: Private key of the app, PEM.
    vapid_key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FcmTarget:
    """A token of Firebase Cloud Messaging."""

    token: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ApnsTarget:
    """A token of Apple's push service."""

    token: str
    sandbox: bool


PushTarget = WebPushTarget | FcmTarget | ApnsTarget


@dataclass(frozen=True, kw_only=True, slots=True)
class OutgoingPush:
    """One push to one device."""

    #: UUID text, the same at every attempt: `apns-id`, and basis of the topic.
    notification_id: str
    target: PushTarget
    #: JSON in UTF-8.
    payload: bytes
    #: Seconds for which a service keeps it for a device that is away; 0: not at all.
    ttl_s: int
    urgency: Urgency = Urgency.NORMAL

    @property
    def topic(self) -> str:
        """What it replaces: `Topic`, `collapse_key`, `apns-collapse-id`; 32 letters and digits."""
        return self.notification_id.replace("-", "")


@dataclass(frozen=True, kw_only=True, slots=True)
class PushOutcome:
    """How one attempt ended."""

    result: PushResult
    #: Host and port of the service; empty when it is not known.
    service: str
    #: Status of HTTP, and the code of the service, if there was a response.
    status: int | None = None
    code: str | None = None
    #: One sentence, safe to show: without endpoint, token and keys.
    message: str = ""
    #: What the service asked for; None: nothing.
    retry_after_s: float | None = None
    duration_us: int = 0


class PushTransport(Protocol):
    """A way to reach devices."""

    @property
    def free(self) -> int:
        """How many pushes it can accept at once now; claim no more."""
        ...

    def service_of(self, target: PushTarget) -> str:
        """Host and port that a push goes to; empty when it cannot be told."""
        ...

    async def send(self, push: OutgoingPush, before_hand_over: BeforeHandOver) -> PushOutcome:
        """Make one attempt, within the transport's own deadline."""
        ...

    async def close(self) -> None:
        """Close idle connections; cancel attempts still running before."""
        ...
