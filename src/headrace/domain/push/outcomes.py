"""Outcomes of an attempt to hand a push to its service, and what follows from each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from headrace.domain.deliveries.retry import RetryPolicy, delay_s
from headrace.domain.messages.kinds import MessageStatus
from headrace.domain.messages.settlement import Progress, Settlement


class PushResult(StrEnum):
    """Outcome of an attempt; a closed list for all transports, stored with the attempt."""

    #: The service took it; whether a device shows it is another matter.
    SENT = "sent"
    #: The subscription or token ended for good: the device is unsubscribed.
    GONE = "gone"
    #: The keys of the subscription are unusable: the device is unsubscribed.
    SUBSCRIPTION_BAD = "subscription_bad"
    TOO_LARGE = "too_large"
    #: The service asks for a slower pace.
    THROTTLED = "throttled"
    #: The service has an error.
    SERVICE_UNAVAILABLE = "service_unavailable"
    #: No connection to the service; nothing was sent.
    UNREACHABLE = "unreachable"
    #: The service rejects our key or token: an operator has to act.
    SENDER_REFUSED = "sender_refused"
    #: The service rejects the request: a mistake of Headrace or of its configuration.
    REQUEST_REFUSED = "request_refused"
    #: The endpoint is none that may be called.
    ENDPOINT_REFUSED = "endpoint_refused"
    #: The private key of the app cannot be opened or read.
    KEY_UNUSABLE = "key_unusable"
    #: No transport sends to this platform.
    NOT_SUPPORTED = "not_supported"
    #: It is unknown whether the service took it.
    UNKNOWN = "unknown"

    @property
    def unsubscribes(self) -> bool:
        """Whether the device can never be reached with this subscription."""
        return self in {PushResult.GONE, PushResult.SUBSCRIPTION_BAD}

    @property
    def service_down(self) -> bool:
        """Whether it counts for the breaker of the service."""
        return self in _SERVICE_DOWN

    @property
    def needs_operator(self) -> bool:
        """Whether nothing is wrong with device and service, so that an operator has to act."""
        return self in _OURS


_SERVICE_DOWN = frozenset(
    {PushResult.SERVICE_UNAVAILABLE, PushResult.UNREACHABLE, PushResult.UNKNOWN}
)
_OURS = frozenset(
    {
        PushResult.SENDER_REFUSED,
        PushResult.REQUEST_REFUSED,
        PushResult.KEY_UNUSABLE,
    }
)
_ENDS = {
    PushResult.SENT: MessageStatus.SENT,
    PushResult.GONE: MessageStatus.BOUNCED,
    PushResult.SUBSCRIPTION_BAD: MessageStatus.BOUNCED,
    PushResult.TOO_LARGE: MessageStatus.FAILED,
    PushResult.SENDER_REFUSED: MessageStatus.BLOCKED,
    PushResult.REQUEST_REFUSED: MessageStatus.FAILED,
    PushResult.ENDPOINT_REFUSED: MessageStatus.FAILED,
    PushResult.NOT_SUPPORTED: MessageStatus.FAILED,
}
#: Wait before the next attempt while an operator has to make a key available.
_KEY_S = 60.0
#: Limit of a wait that a service asks for.
_RETRY_AFTER_MAX_S = 24 * 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class PushAnswer:
    """How an attempt ended."""

    result: PushResult
    #: What the service asked for; None: nothing.
    retry_after_s: float | None = None


def result_of_status(status: int) -> PushResult:
    """Interpret the status of a response (RFC 8030; the large services agree on these)."""
    found = _BY_STATUS.get(status)
    if found is not None:
        return found
    by_hundred = {
        2: PushResult.SENT,
        4: PushResult.REQUEST_REFUSED,
        5: PushResult.SERVICE_UNAVAILABLE,
    }
    # A redirect is not followed: the endpoint is the one that the browser was given.
    return by_hundred.get(status // 100, PushResult.REQUEST_REFUSED)


_BY_STATUS = {
    401: PushResult.SENDER_REFUSED,
    403: PushResult.SENDER_REFUSED,
    404: PushResult.GONE,
    408: PushResult.SERVICE_UNAVAILABLE,
    410: PushResult.GONE,
    413: PushResult.TOO_LARGE,
    425: PushResult.SERVICE_UNAVAILABLE,
    429: PushResult.THROTTLED,
}


def settle_push(
    answer: PushAnswer, progress: Progress, *, now_us: int, policy: RetryPolicy, jitter: float
) -> Settlement:
    """Decide what follows from an attempt.

    An unknown outcome is retried: the repeat has the same id, so that the service replaces a push
    that waits and the device one that it shows.

    Args:
        answer: how the attempt ended.
        progress: state of the message.
        now_us: the store's clock.
        policy: the project's retry policy; its number of attempts does not count, the horizon does.
        jitter: a random number from 0 up to 1.
    """
    result = answer.result
    if result in _ENDS:
        return Settlement(status=_ENDS[result], sender_rejected=result is PushResult.SENDER_REFUSED)
    wait_s = delay_s(progress.attempt, policy, jitter)
    if result is PushResult.KEY_UNUSABLE:
        wait_s = max(wait_s, _KEY_S)
    if answer.retry_after_s is not None:
        wait_s = max(wait_s, min(answer.retry_after_s, _RETRY_AFTER_MAX_S))
    retry_at_us = now_us + round(wait_s * 1_000_000)
    late = retry_at_us > progress.ends_us
    return Settlement(
        status=MessageStatus.EXPIRED if late else MessageStatus.DEFERRED,
        retry_at_us=None if late else retry_at_us,
        relay_down=result.service_down,
        hold_relay=result is PushResult.KEY_UNUSABLE,
        slow_down=result is PushResult.THROTTLED,
    )
