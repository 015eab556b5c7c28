"""What happened to an event, in a few sentences, and what the operator can do about it. Pure."""

from __future__ import annotations

from collections import Counter

import msgspec

from headrace.domain.events.event import Source, Status
from headrace.pipeline.trace.entry import EntryType, duration_text
from headrace.pipeline.trace.trace import Trace
from headrace.store.contract.dead_letters import DeadLetterKind, DeadLetterState
from headrace.store.contract.deliveries import DeliveryState
from headrace.store.contract.trace import TraceFacts

_CAME = {
    Source.API: "via the API",
    Source.BATCH: "in a batch via the API",
    Source.IMPORT: "from an import",
    Source.SYSTEM: "from Headrace itself (system event)",
    Source.CLIENT: "from a client of a push app",
    Source.SEGMENT: "through the Segment API",
}
_DELIVERIES = (
    (DeliveryState.DELIVERED, "succeeded"),
    (DeliveryState.DELIVERING, "is in progress"),
    (DeliveryState.PENDING, "is pending"),
    (DeliveryState.RETRYING, "failed and will be retried automatically"),
    (DeliveryState.DEAD_LETTERED, "failed"),
)
_PLURAL = {
    "is in progress": "are in progress",
    "is pending": "are pending",
}


class EventSummary(msgspec.Struct, frozen=True):
    """A few sentences and their severity."""

    sentences: list[str]
    #: good, warn or bad.
    severity: str


def summary_of(trace: Trace, facts: TraceFacts) -> EventSummary:
    """Describe the event's source, processing and deliveries, and what to do next."""
    event = trace.event
    sentences = [f"Received {_CAME[Source(event.source)]}."]
    status = Status(event.status)
    open_letters = [letter for letter in facts.dead_letters if letter.state is DeadLetterState.OPEN]
    if status is Status.PROCESSED:
        sentences += _processed(trace, facts)
    elif status is Status.RETRYING:
        sentences.append(
            "Processing failed and will be retried automatically: "
            f"{_ended(event.last_error or 'no error was kept')}"
        )
    elif status is Status.DEAD_LETTERED:
        sentences.append(
            "Processing failed, so it was not delivered: "
            f"{_ended(event.last_error or 'no error was kept')}"
        )
    elif status is Status.PROCESSING:
        sentences.append("A worker is processing it now.")
    else:
        sentences.append(
            "It is waiting for a worker. If this takes long, check that a worker is running."
        )
    if open_letters:
        sentences.append(_what_to_do([letter.kind for letter in open_letters]))
    return EventSummary(sentences, _mood(status, facts, needs_a_person=bool(open_letters)))


def _processed(trace: Trace, facts: TraceFacts) -> list[str]:
    sentences = []
    event = trace.event
    if facts.processed_us is not None:
        took = duration_text(max(0, facts.processed_us - event.received_us))
        sentences.append(f"It was processed after {took}.")
    who = next(
        (
            entry.text
            for entry in trace.entries
            if entry.type in (EntryType.IDENTITY_RESOLVED, EntryType.CONTACT_CREATED)
        ),
        None,
    )
    if who is not None:
        sentences.append(who)
    counts = Counter(delivery.state for delivery in facts.deliveries)
    if not counts:
        skipped = any(entry.type is EntryType.SUBSCRIBER_SKIPPED for entry in trace.entries)
        reason = "no subscriber is subscribed to this event name"
        if not skipped:
            reason = "this project had no subscriber at that time"
        return [*sentences, f"Not delivered: {reason}."]
    return [*sentences, _delivered(counts)]


def _delivered(counts: Counter[DeliveryState]) -> str:
    """One sentence, such as `1 of 3 deliveries succeeded, 2 failed`."""
    total = sum(counts.values())
    found = [(counts[state], words) for state, words in _DELIVERIES if counts[state]]
    if total == 1:
        return f"Its delivery {found[0][1]}."
    parts = [(count, words if count == 1 else _PLURAL.get(words, words)) for count, words in found]
    count, words = parts[0]
    rest = "".join(f", {count} {words}" for count, words in parts[1:])
    return f"{count} of {total} deliveries {words}{rest}."


def _what_to_do(kinds: list[DeadLetterKind]) -> str:
    if DeadLetterKind.PROCESSING in kinds:
        what = "the event"
    elif DeadLetterKind.DELIVERY in kinds:
        what = "what failed" if DeadLetterKind.AUTOMATION in kinds else "the failed deliveries"
    else:
        what = "the failed automation"
    return f"Fix the cause below, then replay {what}, or discard with a reason."


def _mood(status: Status, facts: TraceFacts, *, needs_a_person: bool) -> str:
    if needs_a_person:
        return "bad"
    waits = any(delivery.state is DeliveryState.RETRYING for delivery in facts.deliveries)
    if status is Status.RETRYING or waits:
        return "warn"
    return "good"


def _ended(text: str) -> str:
    return text.rstrip(". ") + "."
