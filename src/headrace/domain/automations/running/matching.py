"""Matches events with waits."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from hashlib import blake2b

from headrace.domain.automations.definition.model import Alternative, LookBack
from headrace.domain.automations.definition.publish_checks import MAIL_EVENTS, PUSH_EVENTS
from headrace.domain.automations.filters.evaluation import Evidence, evaluate
from headrace.domain.automations.filters.paths import Path
from headrace.domain.automations.filters.values import Value, scalar
from headrace.domain.automations.running.runs import Awaited, Event, Run
from headrace.domain.automations.running.view import View, facts, look_up
from headrace.domain.ids import first_sequence_at

#: Longer texts are compared by hash, so that waits stay small.
_KEY_CHARACTERS_MAX = 200
_SECOND_US = 1_000_000
#: Verdict on an engagement event that no person has caused.
_MACHINE = "machine"


class Mismatch(StrEnum):
    """Why an event does not match."""

    OTHER_NAME = "it has another name"
    TOO_EARLY = "it was received before the start of the look-back"
    USED_UP = "the run has already used it, or a later event of that name"
    CORRELATION_MISSING = "the value to match is missing"
    OTHER_VALUE = "a value to match differs"
    OTHER_MESSAGE = "it refers to another message"
    MACHINE = "it was caused by a machine, not a person"
    FILTER = "it does not match the filters"


def scalar_key(value: Value) -> str | None:
    """A short key that is equal exactly for equal values; None for a value that equals nothing."""
    match scalar(value):
        case bool() as flag:
            return f"b:{flag}"
        case Decimal() as number:
            sign, digits, exponent = number.as_tuple()
            text = "".join(map(str, digits))
            kept = text.rstrip("0")
            if not kept:
                return "n:0"
            return f"n:{'-' * sign}{kept.lstrip('0')}e{int(exponent) + len(text) - len(kept)}"
        case str() as text:
            if len(text) > _KEY_CHARACTERS_MAX:
                return (
                    f"h:{blake2b(text.encode(errors='surrogatepass'), digest_size=16).hexdigest()}"
                )
            return f"s:{text}"
    return None


def await_event(
    wanted: Alternative, look_back: LookBack | int, run: Run, message_from: str | None
) -> Awaited:
    """Capture what an event has to match from now on.

    Args:
        wanted: the event as the definition asks for it.
        look_back: how far before now it may have happened.
        run: at the moment of the wait.
        message_from: key of the step whose message it has to be about; None: any.
    """
    correlation: list[tuple[str, str]] = []
    missing = False
    for left, right in wanted.correlate:
        key = scalar_key(look_up(right, run.trigger, run, None))
        if key is None:
            missing = True
        else:
            correlation.append((left.text, key))
    return Awaited(
        event_name=wanted.event_name,
        branch=wanted.branch,
        since=max(_since(look_back, run), run.used.get(wanted.event_name, 0)),
        correlation=tuple(correlation),
        correlation_missing=missing,
        message_from=message_from if is_engagement(wanted.event_name) else None,
    )


def _since(look_back: LookBack | int, run: Run) -> int:
    if look_back is LookBack.RUN:
        return run.trigger.sequence
    if look_back is LookBack.STEP:
        last = max((run.trigger.sequence, *run.used.values()))
        return max(first_sequence_at(run.at_us) - 1, last)
    return first_sequence_at(run.at_us - int(look_back) * _SECOND_US) - 1


def is_engagement(event_name: str) -> bool:
    """Whether events of the name are about a message."""
    return event_name.startswith((MAIL_EVENTS, PUSH_EVENTS))


def mismatch(
    wanted: Alternative,
    awaited: Awaited,
    event: Event,
    run: Run,
    view: View,
    *,
    include_machine: bool = False,
) -> tuple[Mismatch, Evidence | None] | None:
    """Why an event of the run's contact does not match; None when it does.

    The caller checks the deadline: a match after it is late.
    """
    found = _fixed_mismatch(wanted, awaited, event, run)
    if found is not None:
        return found, None
    machine = is_engagement(event.name) and event.payload.get("verdict") == _MACHINE
    if machine and not include_machine:
        return Mismatch.MACHINE, None
    verdict = evaluate(wanted.filters, facts(event, run, view, max(run.at_us, event.received_us)))
    return None if verdict.holds else (Mismatch.FILTER, verdict.evidence)


def _fixed_mismatch(
    wanted: Alternative, awaited: Awaited, event: Event, run: Run
) -> Mismatch | None:
    """What does not match of the values captured when the wait began."""
    checks = (
        (event.name != awaited.event_name, Mismatch.OTHER_NAME),
        (event.sequence <= run.used.get(event.name, 0), Mismatch.USED_UP),
        (event.sequence <= awaited.since, Mismatch.TOO_EARLY),
        (awaited.correlation_missing, Mismatch.CORRELATION_MISSING),
    )
    for wrong, reason in checks:
        if wrong:
            return reason
    if not _correlates(wanted, awaited, event):
        return Mismatch.OTHER_VALUE
    if is_engagement(event.name) and not _is_about(awaited.message_from, event, run):
        return Mismatch.OTHER_MESSAGE
    return None


def _correlates(wanted: Alternative, awaited: Awaited, event: Event) -> bool:
    paths: dict[str, Path] = {left.text: left for left, _ in wanted.correlate}
    return all(
        text in paths and scalar_key(look_up(paths[text], event, None, None)) == key
        for text, key in awaited.correlation
    )


def _is_about(step_key: str | None, event: Event, run: Run) -> bool:
    """Whether an engagement event is about the message of a step of this run."""
    if step_key is None:
        return True
    return event.payload.get("run_id") == run.id and event.payload.get("step_key") == step_key
