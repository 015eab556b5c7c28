"""Rows of runs, and the JSON of a whole run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.domain.automations.filters.values import json_of
from headrace.domain.automations.running.reasons import RunReason
from headrace.domain.automations.running.runs import Event, Run, read_payload
from headrace.domain.automations.running.states import Outcome, RunStatus, WaitKind
from headrace.domain.messages.places import lane_of_uuid
from headrace.store.contract.automations import PARKED_US, NoteRow, RejectedStart, RunRow

_FIELDS = tuple(field.name for field in msgspec.structs.fields(RunRow))
COLUMNS = ", ".join(_FIELDS)
NOTE = "number, at_us, reason, step_key, sentence"
REJECTED = "automation_id, sequence, version, contact_id, event_id, reason, sentence, at_us"
#: The trigger's key among the payloads; no step is called that.
_TRIGGER = "trigger"


class _Stored(msgspec.Struct, frozen=True):
    """A run whose events have no payload, and the payloads as JSON text by step.

    Numbers of payloads keep all their digits, which JSON decoding of the whole would change.
    """

    run: Run
    payloads: dict[str, str]


def key_of(run_id: str) -> tuple[int, str]:
    """Key of a run's row."""
    return lane_of_uuid(run_id), run_id


def state_text(run: Run) -> str:
    """JSON of a run."""
    payloads = {_TRIGGER: json_of(run.trigger.payload)}
    steps = []
    for step in run.steps:
        if step.event is not None:
            payloads[step.key] = json_of(step.event.payload)
            step = msgspec.structs.replace(step, event=_without_payload(step.event))  # noqa: PLW2901 - the stored form of the same step
        steps.append(step)
    bare = msgspec.structs.replace(run, trigger=_without_payload(run.trigger), steps=tuple(steps))
    return msgspec.json.encode(_Stored(bare, payloads)).decode()


def read_state(text: str) -> Run:
    """The run of `state_text`."""
    stored = msgspec.json.decode(text, type=_Stored)
    run, payloads = stored.run, stored.payloads
    steps = tuple(
        step
        if step.event is None
        else msgspec.structs.replace(step, event=_with_payload(step.event, payloads[step.key]))
        for step in run.steps
    )
    trigger = _with_payload(run.trigger, payloads[_TRIGGER])
    return msgspec.structs.replace(run, trigger=trigger, steps=steps)


def _without_payload(event: Event) -> Event:
    return msgspec.structs.replace(event, payload={})


def _with_payload(event: Event, text: str) -> Event:
    return msgspec.structs.replace(event, payload=read_payload(text))


def run_row(row: Sequence[Any]) -> RunRow:
    """A run from `COLUMNS`."""
    values = dict(zip(_FIELDS, row, strict=False))
    values["status"] = RunStatus(values["status"])
    if values["due_us"] is not None and values["due_us"] >= PARKED_US:
        values["due_us"] -= PARKED_US
    for name, kind in (("reason", RunReason), ("outcome", Outcome)):
        if values[name] is not None:
            values[name] = kind(values[name])
    return RunRow(**values)


def note_row(row: Sequence[Any]) -> NoteRow:
    """A note from `NOTE`."""
    number, at_us, reason, step_key, sentence = row
    return NoteRow(
        number=number, at_us=at_us, reason=RunReason(reason), step_key=step_key, sentence=sentence
    )


def rejected_start(row: Sequence[Any]) -> RejectedStart:
    """A rejected start from `REJECTED`."""
    values = dict(zip(REJECTED.split(", "), row, strict=True))
    return RejectedStart(**values | {"reason": RunReason(values["reason"])})


def due_us_of(run: Run, poll_us: int) -> int | None:
    """When an open run is looked at next; None when it has ended.

    Args:
        poll_us: when to look at the message that it waits for.
    """
    if not run.is_open:
        return None
    wait = run.open_wait
    if wait is None or (wait.kind is WaitKind.MESSAGE):
        return poll_us
    due_us = poll_us if wait.due_us is None else wait.due_us
    return due_us if wait.held_until_us is None else max(due_us, wait.held_until_us)


def payload_text(payload: dict[str, Any]) -> Any:
    """JSON of a payload with all digits of its numbers, for a response."""
    return msgspec.Raw(json_of(payload).encode())
