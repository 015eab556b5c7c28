"""The part of a trace about subscribers: who got the event, who did not and why, how it went. Pure.

Why a subscriber did not get an event is not stored; it is derived from its current settings. When
they were changed since, the sentence says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from headrace.domain.deliveries.attempt_requests import (
    read_response_headers,
    request_of,
    without_path,
)
from headrace.domain.deliveries.subscriptions import pattern_wants
from headrace.domain.timestamps import to_text
from headrace.pipeline.trace.entry import (
    EntryType,
    Moment,
    TraceEntry,
    duration_ms,
    duration_text,
)
from headrace.store.contract.dead_letters import DeadLetterKind
from headrace.store.contract.deliveries import (
    Attempt,
    DeliveryRecord,
    DeliveryState,
    StoreCause,
    SubscriberKind,
)
from headrace.store.contract.trace import TracedDeadLetter, TracedSubscriber, TraceFacts

_PATTERNS_SHOWN_MAX = 5
_NAMES_SHOWN_MAX = 3
_DELETED = "a deleted subscriber"
_WAITING = (DeliveryState.PENDING, DeliveryState.RETRYING)


def subscriber_moments(facts: TraceFacts) -> Iterator[Moment]:
    """Each subscriber considered; none before the event is processed."""
    if facts.processed_us is None:
        return
    names = _names(facts.subscribers)
    paused = {each.id for each in facts.subscribers if each.paused_us is not None}
    for delivery in facts.deliveries:
        name = names.get(delivery.subscriber_id, _DELETED)
        # What matched was queued with the processing itself.
        requested = delivery.created_us > facts.processed_us
        held = delivery.subscriber_id in paused and delivery.state in _WAITING
        yield _matched(delivery, name, requested=requested, held=held)
    got = {delivery.subscriber_id for delivery in facts.deliveries}
    others = [each for each in facts.subscribers if each.id not in got]
    unwanted = [each for each in others if not _wants(each, facts.event.event)]
    # A single one is explained; many would hide what the trace is read for.
    folded = unwanted if len(unwanted) > 1 else []
    for subscriber in others:
        if subscriber not in folded:
            yield _skipped(subscriber, names[subscriber.id], facts.event.event, facts.processed_us)
    if folded:
        yield _unwanted([names[each.id] for each in folded], facts.processed_us)


def delivery_moments(facts: TraceFacts) -> Iterator[Moment]:
    """Every stored attempt, and when a delivery was last sent again."""
    names = _names(facts.subscribers)
    subscribers = {each.id: each for each in facts.subscribers}
    for delivery in facts.deliveries:
        name = names.get(delivery.subscriber_id, _DELETED)
        if delivery.resent_us is not None and not _shown(delivery, facts.dead_letters):
            yield _resent(delivery, delivery.resent_us, name)
        numbers = _attempt_numbers(delivery, facts.dead_letters)
        for attempt, number in zip(delivery.attempts, numbers, strict=True):
            subscriber = subscribers.get(delivery.subscriber_id)
            yield _attempted(delivery, attempt, number, name, subscriber)


def _names(subscribers: Sequence[TracedSubscriber]) -> dict[str, str]:
    """Names of subscribers by their id; two webhooks of one host have the start of their id, too.

    The path of a URL can hold a secret of its owner's making, so only the host is named.
    """
    hosts = {
        each.id: urlsplit(each.target).hostname or ""
        for each in subscribers
        if each.kind is SubscriberKind.WEBHOOK
    }
    count = Counter(hosts.values())
    names = {each.id: f"handler {each.target}" for each in subscribers if each.id not in hosts}
    for webhook_id, host in hosts.items():
        which = f" ({webhook_id[:8]})" if count[host] > 1 else ""
        names[webhook_id] = f"webhook {host}{which}"
    return names


def _attempt_numbers(
    delivery: DeliveryRecord, dead_letters: Sequence[TracedDeadLetter]
) -> list[int]:
    """The number of each stored attempt as it was counted, from 1 after every replay.

    A dead letter ends a run of attempts and has their number; so does a success that more attempts
    follow, because the event was sent again. The delivery has the number of its last
    run. Attempts whose worker crashed do not count: such a one has the number of the next one.
    """
    ends = sorted(
        (each.dead_lettered_us, each.attempts)
        for each in dead_letters
        if each.kind is DeadLetterKind.DELIVERY and each.subscriber_id == delivery.subscriber_id
    )
    ends = sorted([*ends, *_ended_well(delivery.attempts, ends)])
    runs: dict[int, list[int]] = {}
    for index, attempt in enumerate(delivery.attempts):
        run = sum(end_us < attempt.at_us for end_us, _ in ends)
        runs.setdefault(run, []).append(index)
    # The attempt in progress is counted but not stored.
    current = delivery.attempt - (delivery.state is DeliveryState.DELIVERING)
    numbers = [0] * len(delivery.attempts)
    for run, indexes in runs.items():
        counted = ends[run][1] if run < len(ends) else current
        for index in reversed(indexes):
            lost = delivery.attempts[index].cause == StoreCause.WORKER_LOST
            numbers[index] = max(1, counted + lost)
            counted -= not lost
    return numbers


def _ended_well(
    attempts: Sequence[Attempt], ends: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """When a run ended with a success that more attempts follow, and how many it had."""
    counted = 0
    previous_us = 0
    for attempt in attempts[:-1]:
        if any(previous_us <= end_us < attempt.at_us for end_us, _ in ends):
            counted = 0
        previous_us = attempt.at_us
        counted += attempt.cause != StoreCause.WORKER_LOST
        if attempt.cause is None:
            yield attempt.at_us, counted
            counted = 0


def _shown(delivery: DeliveryRecord, dead_letters: Sequence[TracedDeadLetter]) -> bool:
    """Whether the trace tells already that it was sent again.

    It does where that made the delivery, or replayed its dead letter.
    """
    return delivery.resent_us == delivery.created_us or any(
        each.subscriber_id == delivery.subscriber_id and each.closed_us == delivery.resent_us
        for each in dead_letters
    )


def _by(delivery: DeliveryRecord) -> str:
    return f" by {delivery.resent_by}" if delivery.resent_by is not None else ""


def _resent(delivery: DeliveryRecord, at_us: int, name: str) -> Moment:
    entry = TraceEntry(
        at=to_text(at_us),
        type=EntryType.RESENT,
        text=f"Queued to be sent to {name} again{_by(delivery)}.",
        subscriber_id=delivery.subscriber_id,
        delivery_id=delivery.id,
        actor=delivery.resent_by,
    )
    return Moment(at_us, entry, detail=1)


def _matched(delivery: DeliveryRecord, name: str, *, requested: bool, held: bool) -> Moment:
    what = f"delivery queued on request{_by(delivery)}" if requested else "matched; delivery queued"
    if held:
        what = f"{what}; it waits because the webhook is paused"
    named = f"{name[0].upper()}{name[1:]}"
    entry = TraceEntry(
        at=to_text(delivery.created_us),
        type=EntryType.SUBSCRIBER_MATCHED,
        text=f"{named}: {what}." if requested else f"{named} {what}.",
        subscriber_id=delivery.subscriber_id,
        delivery_id=delivery.id,
        delivery_status=delivery.state.name.lower(),
    )
    return Moment(delivery.created_us, entry, detail=1)


def _skipped(subscriber: TracedSubscriber, name: str, event: str, at_us: int) -> Moment:
    entry = TraceEntry(
        at=to_text(at_us),
        type=EntryType.SUBSCRIBER_SKIPPED,
        text=f"{name[0].upper()}{name[1:]} skipped: {_why(subscriber, event, at_us)}.",
        subscriber_id=subscriber.id,
    )
    return Moment(at_us, entry, detail=3)


def _unwanted(subscribers: Sequence[str], at_us: int) -> Moment:
    names = ", ".join(subscribers[:_NAMES_SHOWN_MAX])
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


def _attempted(
    delivery: DeliveryRecord,
    attempt: Attempt,
    number: int,
    name: str,
    subscriber: TracedSubscriber | None,
) -> Moment:
    held = subscriber is not None and subscriber.paused_us is not None
    versions = () if subscriber is None else subscriber.versions
    worked = attempt.cause is None
    took = duration_text(attempt.duration_us)
    with_status = f" with status {attempt.http_status}" if attempt.http_status is not None else ""
    retry_us = None if held else _retry_us(delivery, attempt)
    follows = f"; next retry at {to_text(retry_us)}" if retry_us is not None else ""
    request = request_of(versions, attempt.version, delivery.id, attempt.signed_s)
    end_us = attempt.at_us + attempt.duration_us
    entry = TraceEntry(
        at=to_text(end_us),
        type=EntryType.DELIVERED if worked else EntryType.DELIVERY_FAILED,
        text=f"Delivered to {name} in {took}{with_status}."
        if worked
        else f"Attempt {number} to deliver to {name} failed after {took}{with_status}{follows}.",
        attempt=number,
        duration_ms=duration_ms(attempt.duration_us),
        cause=attempt.cause,
        error=attempt.error,
        next_attempt_at=None if retry_us is None else to_text(retry_us),
        subscriber_id=delivery.subscriber_id,
        delivery_id=delivery.id,
        http_status=attempt.http_status,
        excerpt=attempt.excerpt,
        # Only the host, as in the texts; the list of deliveries has the rest.
        request=None if request is None else without_path(request),
        response_headers=read_response_headers(attempt.response_headers),
        note=attempt.note,
    )
    return Moment(end_us, entry, detail=1 if worked else 2)


def _retry_us(delivery: DeliveryRecord, attempt: Attempt) -> int | None:
    last = attempt is delivery.attempts[-1]
    if attempt.cause is None or not last or delivery.state is not DeliveryState.RETRYING:
        return None
    return delivery.due_us
