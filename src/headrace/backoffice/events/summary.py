"""What happened to an event, in a few plain sentences, and what a person can do about it. Pure."""

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
    Source.API: "through the API",
    Source.BATCH: "in a batch through the API",
    Source.IMPORT: "by an import",
    Source.SYSTEM: "from Headrace itself",
}
_DELIVERIES = (
    (DeliveryState.DELIVERED, "arrived"),
    (DeliveryState.DELIVERING, "is on its way"),
    (DeliveryState.PENDING, "waits for its turn"),
    (DeliveryState.RETRYING, "failed and is tried again by itself"),
    (DeliveryState.DEAD_LETTERED, "was given up"),
)
_PLURAL = {
    "arrived": "arrived",
    "is on its way": "are on their way",
    "waits for its turn": "wait for their turn",
    "failed and is tried again by itself": "failed and are tried again by themselves",
    "was given up": "were given up",
}


class Story(msgspec.Struct, frozen=True):
    """A few sentences, and how it went."""

    sentences: list[str]
    #: good, warn or bad.
    severity: str


def story_of(trace: Trace, facts: TraceFacts) -> Story:
    """Tell it: where the event came from, what was made of it, who got it, what is left to do."""
    event = trace.event
    sentences = [f"The event was stored when it came {_CAME[Source(event.source)]}."]
    status = Status(event.status)
    open_letters = [letter for letter in facts.dead_letters if letter.state is DeadLetterState.OPEN]
    if status is Status.PROCESSED:
        sentences += _processed(trace, facts)
    elif status is Status.RETRYING:
        sentences.append(
            "Processing it failed and is tried again by itself: "
            f"{_ended(event.last_error or 'no error was kept')}"
        )
    elif status is Status.DEAD_LETTERED:
        sentences.append(
            "Processing it was given up, so nobody got it: "
            f"{_ended(event.last_error or 'no error was kept')}"
        )
    elif status is Status.PROCESSING:
        sentences.append("A worker is processing it now.")
    else:
        sentences.append("It waits for a worker. If that lasts, see whether a worker runs.")
    if open_letters:
        sentences.append(_what_to_do([letter.kind for letter in open_letters]))
    return Story(sentences, _mood(status, facts, needs_a_person=bool(open_letters)))


def _processed(trace: Trace, facts: TraceFacts) -> list[str]:
    sentences = []
    event = trace.event
    if facts.processed_us is not None:
        took = duration_text(max(0, facts.processed_us - event.received_us))
        sentences.append(f"It was processed {took} after it was received.")
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
        reason = "none of the subscribers wants events of this name"
        if not skipped:
            reason = "this project had no subscriber then"
        return [*sentences, f"Nobody got it: {reason}."]
    parts = [_counted(counts[state], words) for state, words in _DELIVERIES if counts[state]]
    total = sum(counts.values())
    of = "Its one delivery" if total == 1 else f"Of {total} deliveries"
    if total == 1:
        sentences.append(f"{of} {parts[0].removeprefix('1 ')}.")
    else:
        sentences.append(f"{of}, {', '.join(parts)}.")
    return sentences


def _counted(count: int, words: str) -> str:
    return f"1 {words}" if count == 1 else f"{count} {_PLURAL[words]}"


def _what_to_do(kinds: list[DeadLetterKind]) -> str:
    what = "it" if DeadLetterKind.PROCESSING in kinds else "what failed"
    return f"Mend the cause below, then replay {what}; or discard it with a reason."


def _mood(status: Status, facts: TraceFacts, *, needs_a_person: bool) -> str:
    if needs_a_person:
        return "bad"
    waits = any(delivery.state is DeliveryState.RETRYING for delivery in facts.deliveries)
    if status is Status.RETRYING or waits:
        return "warn"
    return "good"


def _ended(text: str) -> str:
    return text.rstrip(". ") + "."
