"""Builds the history of one event from what is stored about it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from headrace.domain.compat.segment import TIMESTAMP
from headrace.domain.events.event import Source, Status, StoredEvent
from headrace.domain.timestamps import to_text
from headrace.pipeline.trace.deliveries import delivery_moments, subscriber_moments
from headrace.pipeline.trace.entry import (
    EntryType,
    Moment,
    TraceEntry,
    duration_ms,
    duration_text,
    sentence,
)
from headrace.pipeline.trace.identity import identity_moments
from headrace.store.contract.dead_letters import DeadLetterKind, DeadLetterState
from headrace.store.contract.processing import LEASE_US
from headrace.store.contract.trace import (
    KeyUsed,
    ProcessingAttempt,
    TracedDeadLetter,
    TraceFacts,
)

#: Longest trace that is shown.
ENTRIES_MAX = 500

_RECEIVED = {
    Source.API: "Received via the API",
    Source.BATCH: "Received in a batch via the API",
    Source.IMPORT: "Received from an import",
    Source.SYSTEM: "Emitted by Headrace",
    Source.CLIENT: "Reported by a client of a push app",
    Source.SEGMENT: "Received through the Segment API",
}
#: In payloads of events whose client sent a time that is unreadable or too far ahead.
UNUSED_TIME = f'"{TIMESTAMP}"'


class Trace(msgspec.Struct, frozen=True):
    """An event with its history so far, in order of time."""

    #: Its status is `processing` while a worker has it.
    event: StoredEvent
    entries: list[TraceEntry]


def trace_of(facts: TraceFacts) -> Trace:
    """Build the trace."""
    moments = [
        _received(facts.event),
        *map(_repeated, facts.repeats),
        *_processing(facts),
        *identity_moments(facts),
        *subscriber_moments(facts),
        *_processed(facts),
        *delivery_moments(facts),
    ]
    for dead_letter in facts.dead_letters:
        moments += _dead_letter(dead_letter)
    event = facts.event
    if facts.lease_until_us is not None:
        event = msgspec.structs.replace(event, status=Status.PROCESSING)
    return Trace(event, _in_order(moments))


def _in_order(moments: list[Moment]) -> list[TraceEntry]:
    """Sort by time, stably; past the limit, drop the most detailed, the latest first."""
    cut = len(moments) > ENTRIES_MAX
    if cut:
        chosen = sorted(moments, key=lambda moment: (moment.detail, moment.at_us))
        kept = {id(moment) for moment in chosen[: ENTRIES_MAX - 1]}
        moments = [moment for moment in moments if id(moment) in kept]
    moments.sort(key=lambda moment: moment.at_us)
    entries = [moment.entry for moment in moments]
    if cut:
        text = f"More entries exist than the {ENTRIES_MAX} that a trace shows."
        entries.append(TraceEntry(at=entries[-1].at, type=EntryType.CUT, text=text))
    return entries


def _received(event: StoredEvent) -> Moment:
    text = _RECEIVED[Source(event.source)]
    if event.api_key_id is not None:
        text += f" with key {event.api_key_id}"
    if event.source == Source.SEGMENT and UNUSED_TIME in event.payload:
        text += "; the time it was sent with cannot be used, so that of its receipt counts"
    return Moment(
        event.received_us,
        TraceEntry(
            at=to_text(event.received_us),
            type=EntryType.RECEIVED,
            text=sentence(text),
            status="accepted",
            api_key=event.api_key_id,
            request_id=event.request_id,
            source=Source(event.source).name.lower(),
        ),
    )


def _repeated(repeat: KeyUsed) -> Moment:
    text = "The same event was sent again; the response was this event and no duplicate was stored."
    if repeat.mismatch:
        text = (
            "The idempotency key was sent again with different content; this event was not changed."
        )
    return Moment(
        repeat.at_us,
        TraceEntry(
            at=to_text(repeat.at_us),
            type=EntryType.KEY_REPEATED,
            text=text,
            api_key=repeat.api_key_id,
            request_id=repeat.request_id,
            mismatch=repeat.mismatch,
        ),
    )


def _processing(facts: TraceFacts) -> Iterator[Moment]:
    """Every attempt that failed, the one that worked, and the one in progress."""
    final_us = {
        dead_letter.dead_lettered_us
        for dead_letter in facts.dead_letters
        if dead_letter.kind is DeadLetterKind.PROCESSING
    }
    last = facts.attempts[-1] if facts.attempts else None
    for attempt in facts.attempts:
        yield _started(attempt.at_us - attempt.duration_us, attempt.number)
        retry_us = facts.retry_due_us if attempt is last else None
        gone = attempt is last and facts.event.status == Status.DEAD_LETTERED
        yield _failed(attempt, retry_us, final=gone or attempt.at_us in final_us)
    following = last.number + 1 if last else 1
    if facts.lease_until_us is not None:
        yield _started(facts.lease_until_us - LEASE_US, max(following, facts.leased_attempt))
    elif facts.processed_us is not None:
        # The start of the successful attempt is not stored; it takes milliseconds.
        yield _started(facts.processed_us, max(following, facts.event.attempts))


def _started(at_us: int, number: int) -> Moment:
    entry = TraceEntry(
        at=to_text(at_us),
        type=EntryType.PROCESSING_STARTED,
        text=f"Processing started, attempt {number}.",
        status="processing",
        attempt=number,
    )
    return Moment(at_us, entry, detail=1)


def _failed(attempt: ProcessingAttempt, retry_us: int | None, *, final: bool) -> Moment:
    follows = (
        "it will not be retried automatically" if final else "it will be retried automatically"
    )
    if retry_us is not None:
        follows = f"next retry at {to_text(retry_us)}"
    entry = TraceEntry(
        at=to_text(attempt.at_us),
        type=EntryType.PROCESSING_FAILED,
        text=f"Attempt {attempt.number} at processing failed after "
        f"{duration_text(attempt.duration_us)}; {follows}.",
        # The status after a final failure is reported with its dead letter.
        status=None if final else "retrying",
        attempt=attempt.number,
        duration_ms=duration_ms(attempt.duration_us),
        cause=attempt.cause,
        error=attempt.error,
        next_attempt_at=None if retry_us is None else to_text(retry_us),
    )
    return Moment(attempt.at_us, entry)


def _processed(facts: TraceFacts) -> Iterator[Moment]:
    if facts.processed_us is None:
        return
    count = len(facts.deliveries)
    subscribers = "1 subscriber" if count == 1 else f"{count} subscribers"
    entry = TraceEntry(
        at=to_text(facts.processed_us),
        type=EntryType.PROCESSED,
        text=f"Processed: {subscribers} matched." if count else "Processed: no subscriber matched.",
        status="processed",
    )
    yield Moment(facts.processed_us, entry)


_FAILED = {
    DeadLetterKind.PROCESSING: "Processing",
    DeadLetterKind.DELIVERY: "A delivery",
    DeadLetterKind.AUTOMATION: "An automation",
}
_AGAIN = {
    DeadLetterKind.PROCESSING: "the event was queued again",
    DeadLetterKind.DELIVERY: "the delivery will be retried",
    DeadLetterKind.AUTOMATION: "the automation will be retried",
}


def _dead_letter(dead_letter: TracedDeadLetter) -> Iterator[Moment]:
    processing = dead_letter.kind is DeadLetterKind.PROCESSING
    what = _FAILED[dead_letter.kind] if dead_letter.run_id is None else "A run of an automation"
    attempts = "1 attempt" if dead_letter.attempts == 1 else f"{dead_letter.attempts} attempts"
    entry = TraceEntry(
        at=to_text(dead_letter.dead_lettered_us),
        type=EntryType.DEAD_LETTERED,
        text=f"{what} failed after {attempts} and became a dead letter.",
        status="dead_lettered" if processing else None,
        cause=dead_letter.cause,
        error=dead_letter.error,
        subscriber_id=dead_letter.subscriber_id,
        dead_letter_id=dead_letter.id,
        run_id=dead_letter.run_id,
    )
    yield Moment(dead_letter.dead_lettered_us, entry)
    if dead_letter.state is not DeadLetterState.OPEN:
        yield _closed(dead_letter, dead_letter.closed_us or 0)


def _closed(dead_letter: TracedDeadLetter, at_us: int) -> Moment:
    processing = dead_letter.kind is DeadLetterKind.PROCESSING
    actor, reason = dead_letter.closed_by or "somebody", dead_letter.reason
    replayed = dead_letter.state is DeadLetterState.REPLAYED
    if replayed:
        what = _AGAIN[dead_letter.kind]
        part = f" as part of {reason}" if reason else ""
        text = f"Replayed by {actor}{part}: {what}."
    else:
        text = f"The dead letter was discarded by {actor}: {sentence(reason or 'no reason given')}"
    entry = TraceEntry(
        at=to_text(at_us),
        type=EntryType.REPLAYED if replayed else EntryType.DISCARDED,
        text=text,
        status="accepted" if replayed and processing else None,
        subscriber_id=dead_letter.subscriber_id,
        dead_letter_id=dead_letter.id,
        run_id=dead_letter.run_id,
        actor=dead_letter.closed_by,
        reason=reason,
    )
    return Moment(at_us, entry)
