"""The part of a trace about subscribers: who got the event, who did not and why, how it went. Pure.

Why a subscriber did not get an event is not stored; it is derived from its current settings. When
they were changed since, the sentence says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from headrace.domain.deliveries.subscriptions import pattern_wants
from headrace.domain.timestamps import to_text
from headrace.pipeline.trace.entry import (
    EntryType,
    Moment,
    TraceEntry,
    duration_ms,
    duration_text,
)
from headrace.store.contract.deliveries import (
    Attempt,
    DeliveryRecord,
    DeliveryState,
    SubscriberKind,
)
from headrace.store.contract.trace import TracedSubscriber, TraceFacts

_PATTERNS_SHOWN_MAX = 5
_NAMES_SHOWN_MAX = 3


def subscriber_moments(facts: TraceFacts) -> Iterator[Moment]:
    """Each subscriber considered; none before the event is processed."""
    if facts.processed_us is None:
        return
    known = {subscriber.id: subscriber for subscriber in facts.subscribers}
    for delivery in facts.deliveries:
        yield _matched(delivery, known.get(delivery.subscriber_id))
    got = {delivery.subscriber_id for delivery in facts.deliveries}
    others = [each for each in facts.subscribers if each.id not in got]
    unwanted = [each for each in others if not _wants(each, facts.event.event)]
    # A single one is explained; many would hide what the trace is read for.
    folded = unwanted if len(unwanted) > 1 else []
    for subscriber in others:
        if subscriber not in folded:
            yield _skipped(subscriber, facts.event.event, facts.processed_us)
    if folded:
        yield _unwanted(folded, facts.processed_us)


def delivery_moments(facts: TraceFacts) -> Iterator[Moment]:
    """Every stored attempt."""
    known = {subscriber.id: subscriber for subscriber in facts.subscribers}
    for delivery in facts.deliveries:
        name = _name(known.get(delivery.subscriber_id))
        for attempt in delivery.attempts:
            yield _attempted(delivery, attempt, name)


def _name(subscriber: TracedSubscriber | None) -> str:
    if subscriber is None:
        return "a deleted subscriber"
    if subscriber.kind is SubscriberKind.HANDLER:
        return f"handler {subscriber.target}"
    # The path of a URL can hold a secret of its owner's making; the host names it well enough.
    return f"webhook {urlsplit(subscriber.target).hostname}"


def _matched(delivery: DeliveryRecord, subscriber: TracedSubscriber | None) -> Moment:
    name = _name(subscriber)
    entry = TraceEntry(
        at=to_text(delivery.created_us),
        type=EntryType.SUBSCRIBER_MATCHED,
        text=f"{name[0].upper()}{name[1:]} matched; delivery queued.",
        subscriber_id=delivery.subscriber_id,
        delivery_id=delivery.id,
        delivery_status=delivery.state.name.lower(),
    )
    return Moment(delivery.created_us, entry, detail=1)


def _skipped(subscriber: TracedSubscriber, event: str, at_us: int) -> Moment:
    name = _name(subscriber)
    entry = TraceEntry(
        at=to_text(at_us),
        type=EntryType.SUBSCRIBER_SKIPPED,
        text=f"{name[0].upper()}{name[1:]} skipped: {_why(subscriber, event, at_us)}.",
        subscriber_id=subscriber.id,
    )
    return Moment(at_us, entry, detail=3)


def _unwanted(subscribers: Sequence[TracedSubscriber], at_us: int) -> Moment:
    names = ", ".join(_name(each) for each in subscribers[:_NAMES_SHOWN_MAX])
    left = len(subscribers) - _NAMES_SHOWN_MAX
    more = f" and {left} more" if left > 0 else ""
    entry = TraceEntry(
        at=to_text(at_us),
        type=EntryType.SUBSCRIBER_SKIPPED,
        text=f"{len(subscribers)} subscribers skipped, not subscribed to this event name: "
        f"{names}{more}.",
        count=len(subscribers),
    )
    return Moment(at_us, entry, detail=3)


def _wants(subscriber: TracedSubscriber, event: str) -> bool:
    return any(pattern_wants(pattern, event) for pattern in subscriber.events)


def _why(subscriber: TracedSubscriber, event: str, at_us: int) -> str:
    if subscriber.created_us > at_us:
        return "it did not exist yet"
    changed = subscriber.updated_us > at_us
    reason = _reason_now(subscriber, event, at_us)
    if reason is None:
        return (
            "its settings have changed since; with the current ones it would match"
            if changed
            else "it was created only moments before, or its delivery is no longer kept"
        )
    if changed:
        return f"{reason} (current settings; they have changed since)"
    return reason


def _reason_now(subscriber: TracedSubscriber, event: str, at_us: int) -> str | None:
    """Why it would not get the event now; None when it would."""
    if not _wants(subscriber, event):
        shown = ", ".join(subscriber.events[:_PATTERNS_SHOWN_MAX])
        left = len(subscriber.events) - _PATTERNS_SHOWN_MAX
        more = f" and {left} more" if left > 0 else ""
        return f"subscribed to {shown}{more}"
    disabled_after = subscriber.disabled_us is not None and subscriber.disabled_us > at_us
    if not subscriber.enabled and not disabled_after:
        why = f" ({subscriber.disabled_reason})" if subscriber.disabled_reason else ""
        return f"it was disabled{why}"
    return None


def _attempted(delivery: DeliveryRecord, attempt: Attempt, name: str) -> Moment:
    worked = attempt.cause is None
    took = duration_text(attempt.duration_us)
    with_status = f" with status {attempt.http_status}" if attempt.http_status is not None else ""
    retry_us = _retry_us(delivery, attempt)
    follows = f"; next retry at {to_text(retry_us)}" if retry_us is not None else ""
    end_us = attempt.at_us + attempt.duration_us
    entry = TraceEntry(
        at=to_text(end_us),
        type=EntryType.DELIVERED if worked else EntryType.DELIVERY_FAILED,
        text=f"Delivered to {name} in {took}{with_status}."
        if worked
        else f"Attempt {attempt.number} to deliver to {name} failed after {took}{with_status}"
        f"{follows}.",
        attempt=attempt.number,
        duration_ms=duration_ms(attempt.duration_us),
        cause=attempt.cause,
        error=attempt.error,
        next_attempt_at=None if retry_us is None else to_text(retry_us),
        subscriber_id=delivery.subscriber_id,
        delivery_id=delivery.id,
        http_status=attempt.http_status,
        excerpt=attempt.excerpt,
        note=attempt.note,
    )
    return Moment(end_us, entry, detail=1 if worked else 2)


def _retry_us(delivery: DeliveryRecord, attempt: Attempt) -> int | None:
    last = attempt is delivery.attempts[-1]
    if attempt.cause is None or not last or delivery.state is not DeliveryState.RETRYING:
        return None
    return delivery.due_us
