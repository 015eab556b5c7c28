"""The state of a delivery after an attempt, a crash, or a wait for an unroutable subscriber."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.delivery.contract import HandlerTarget, WebhookTarget
from headrace.domain.events.event import StoredEvent
from headrace.store.contract.deliveries import (
    LOSSES_MAX,
    AttemptRecord,
    ClaimedDelivery,
    DeliveryState,
    StoreCause,
)

_REPLACEMENT = "\ufffd"


class ClaimedRow(msgspec.Struct, frozen=True):
    """A claimed delivery before its event is read."""

    lane: int
    number: int
    id: str
    project_id: int
    subscriber_id: str
    attempt: int
    claim: int
    crashes: int
    sequence: int
    target: WebhookTarget | HandlerTarget

    def with_event(self, event: StoredEvent) -> ClaimedDelivery:
        """The whole of it."""
        fields = msgspec.structs.asdict(self)
        del fields["lane"], fields["sequence"]
        return ClaimedDelivery(**fields, event=event)


class Ending(msgspec.Struct, frozen=True):
    """The state of a delivery when its claim ends."""

    state: DeliveryState
    #: None: as before.
    due_us: int | None
    finished_us: int | None
    cause: str | None
    error: str | None
    #: Crashes that are counted from now on.
    crashes: int

    @property
    def dead(self) -> bool:
        """Whether a dead letter is left."""
        return self.state is DeliveryState.DEAD_LETTERED


def after_attempt(record: AttemptRecord, now_us: int) -> Ending:
    """Delivered, a retry, or the end."""
    failure = record.failure
    if failure is None:
        return Ending(DeliveryState.DELIVERED, None, now_us, None, None, 0)
    reason = (failure.cause, storable(failure.error), failure.crashes)
    if failure.retry_in_us is None:
        return Ending(DeliveryState.DEAD_LETTERED, None, now_us, *reason)
    return Ending(DeliveryState.RETRYING, now_us + failure.retry_in_us, None, *reason)


def attempt_values(record: AttemptRecord, ending: Ending) -> tuple[Any, ...]:
    """Values of an attempt, in the order of the contract's fields."""
    exchange, target = record.exchange, record.claimed.target
    kept: tuple[Any, ...] = (None, None, None)
    if exchange is not None and isinstance(target, WebhookTarget):
        kept = (target.version, exchange.signed_s, exchange.response_headers or None)
    excerpt = None if record.excerpt is None else storable(record.excerpt)
    # One column for both: a delivery has no error.
    error = record.note if record.failure is None else ending.error
    return (
        *(record.claimed.claim, record.began_us, record.duration_us),
        *(ending.cause, error, record.http_status, excerpt),
        *kept,
    )


def after_loss(crashes: int, losses: int, now_us: int) -> Ending:
    """A retry, or the end, of a claim whose worker crashed.

    Args:
        crashes: those counted before.
        losses: attempts in a row before this one that ended in the same way.
    """
    suspect = max(crashes, 1)
    error = "the worker went away during the attempt"
    if losses + 1 < LOSSES_MAX:
        reason = (StoreCause.WORKER_LOST.value, error, suspect)
        return Ending(DeliveryState.RETRYING, now_us, None, *reason)
    error = f"{error}; that happened {losses + 1} times in a row"
    reason = (StoreCause.CRASH_LOOP.value, error, suspect)
    return Ending(DeliveryState.DEAD_LETTERED, now_us, now_us, *reason)


def after_waiting(now_us: int, *, deleted: bool) -> Ending:
    """The end of a delivery whose subscriber was deleted, or disabled for too long."""
    cause, error = StoreCause.SUBSCRIBER_DISABLED, "the subscriber has been disabled for too long"
    if deleted:
        cause, error = StoreCause.SUBSCRIBER_DELETED, "the subscriber was deleted"
    return Ending(DeliveryState.DEAD_LETTERED, None, now_us, cause.value, error, 0)


def storable(text: str) -> str:
    """The text without what a store rejects: NUL and unpaired surrogates."""
    if "\0" in text:
        text = text.replace("\0", _REPLACEMENT)
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join(_REPLACEMENT if "\ud800" <= c <= "\udfff" else c for c in text)
    return text
