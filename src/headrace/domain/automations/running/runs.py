"""Stored runs: immutable records that a decision replaces."""

from __future__ import annotations

import json
from hashlib import sha1
from typing import Any
from uuid import UUID

import msgspec

from headrace.domain.automations.definition.model import StepType
from headrace.domain.automations.filters.evaluation import Evidence
from headrace.domain.automations.running.reasons import RunReason
from headrace.domain.automations.running.states import (
    OPEN_RUNS,
    FoundBy,
    Outcome,
    RunStatus,
    StepStatus,
    WaitKind,
    WaitStatus,
)
from headrace.domain.events.event import Source
from headrace.domain.ids import uuid_text
from headrace.domain.json_text import Number

_NAMESPACE = UUID("5f0d6d6c-93a4-5b0e-9d5f-6b2d9a1f7c11").bytes
_PAYLOAD = json.JSONDecoder(parse_int=Number, parse_float=Number)


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """An event as an input of runs."""

    #: Position in the order of receipt.
    sequence: int
    id: str
    name: str
    #: As `read_payload` returns it.
    payload: dict[str, Any]
    occurred_us: int
    received_us: int
    source: int = Source.API
    #: How many automations caused it in a chain: 0 for an event that a caller sent.
    depth: int = 0


def read_payload(text: str) -> dict[str, Any]:
    """Parse the payload of a stored event, numbers left as their text."""
    payload: dict[str, Any] = _PAYLOAD.decode(text)
    return payload


class Awaited(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a wait, with the values captured when the wait began."""

    event_name: str
    branch: str
    #: The event's sequence must be greater.
    since: int
    #: Paths in the event, and what `scalar_key` must return for their values.
    correlation: tuple[tuple[str, str], ...] = ()
    #: A value to match was missing, so no event can match.
    correlation_missing: bool = False
    #: Key of the step whose message the event must be about; None: of any.
    message_from: str | None = None


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run waits, with its timer."""

    id: str
    kind: WaitKind
    status: WaitStatus = WaitStatus.WAITING
    #: None for exit rules, which `rule` numbers.
    step_key: str | None = None
    rule: int | None = None
    started_us: int
    due_us: int | None = None
    #: Zone that `due_us` was computed in, where it depends on the contact's.
    zone: str | None = None
    #: Not checked before then, see `RunReason.TIMER_HELD` and `MessageDeferred`.
    held_until_us: int | None = None
    awaited: tuple[Awaited, ...] = ()
    ended_us: int | None = None
    #: Sequence of the event that ended it.
    event_sequence: int | None = None
    found_by: FoundBy | None = None
    #: Sequences of events that would have matched before the deadline.
    late_events: tuple[int, ...] = ()


class StepRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one step; at most one per key in a run."""

    key: str
    type: StepType
    status: StepStatus = StepStatus.RUNNING
    branch: str | None = None
    started_us: int
    finished_us: int | None = None
    attempts: int = 1
    reason: RunReason | None = None
    evidence: Evidence | None = None
    #: The event that resumed it; None also when it is no longer kept.
    event: Event | None = None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One passage of one contact through one version.

    `at_us` is the time of the run itself: that of its last event, timer or message. It lags behind
    the wall clock when processing does, so that a decision does not depend on when it is made.
    """

    id: str
    automation_id: str
    version: int
    trigger: Event
    status: RunStatus
    at_us: int
    reason: RunReason | None = None
    outcome: Outcome | None = None
    #: The step it is at, or ended at.
    at_step: str | None = None
    depth: int = 0
    #: In the order in which they were reached.
    steps: tuple[StepRecord, ...] = ()
    waits: tuple[Wait, ...] = ()
    #: Event name -> sequence of the last one that the run has consumed.
    used: dict[str, int] = {}
    #: An event that fits an exit rule was received after a timer that was not handled yet.
    exit_pending: bool = False
    finished_us: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether the run is open."""
        return self.status in OPEN_RUNS

    @property
    def open_wait(self) -> Wait | None:
        """The wait that the run is at; None when it is not waiting."""
        return next(
            (
                wait
                for wait in reversed(self.waits)
                if wait.status is WaitStatus.WAITING and wait.kind is not WaitKind.EXIT
            ),
            None,
        )

    def record(self, key: str) -> StepRecord | None:
        """The result of a step; None when it was not reached."""
        return next((record for record in self.steps if record.key == key), None)


def stable_id(run_id: str, *parts: str) -> str:
    """A deterministic id of a wait or an effect, the same for a repeated decision.

    It is `uuid.uuid5` of the parts, which takes three times as long; every run needs a few.
    """
    name = "/".join((run_id, *parts))
    value = bytearray(sha1(_NAMESPACE + name.encode(), usedforsecurity=False).digest()[:16])
    value[6] = value[6] & 0x0F | 0x50
    value[8] = value[8] & 0x3F | 0x80
    return uuid_text(value)
