"""A run as the store keeps it: immutable records that a decision replaces."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid5

import msgspec

from headrace.domain.automations.definition.model import StepType
from headrace.domain.automations.filters.evaluation import Evidence
from headrace.domain.automations.running.reasons import Reason
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
from headrace.domain.json_text import Number

_NAMESPACE = UUID("5f0d6d6c-93a4-5b0e-9d5f-6b2d9a1f7c11")


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """An event as runs see it."""

    #: Place in the order of receipt.
    sequence: int
    id: str
    name: str
    #: As `read_payload` gives it.
    payload: dict[str, Any]
    occurred_us: int
    received_us: int
    source: int = Source.API
    #: How many automations lie behind it: 0 for what a caller sent.
    depth: int = 0


def read_payload(text: str) -> dict[str, Any]:
    """Parse the payload of a stored event, numbers left as their text."""
    payload: dict[str, Any] = json.loads(text, parse_int=Number, parse_float=Number)
    return payload


class Awaited(msgspec.Struct, frozen=True, kw_only=True):
    """One event that a wait is after, with what was fixed when the wait began."""

    event_name: str
    branch: str
    #: The event's sequence must be greater.
    since: int
    #: Paths in the event, and what `scalar_key` must give for their values.
    correlation: tuple[tuple[str, str], ...] = ()
    #: A value to match was missing, so no event can fit.
    correlation_missing: bool = False
    #: Key of the step whose message the event must be about; None: of any.
    message_from: str | None = None


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run stands still, and its timer in one."""

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
    #: Not to be looked at before, see `Reason.TIMER_HELD` and `MessageDeferred`.
    held_until_us: int | None = None
    awaited: tuple[Awaited, ...] = ()
    ended_us: int | None = None
    #: Sequence of the event that ended it.
    event_sequence: int | None = None
    found_by: FoundBy | None = None
    #: Sequences of events that would have fitted, had they come before the deadline.
    late_events: tuple[int, ...] = ()


class StepRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one step; at most one per key in a run."""

    key: str
    type: StepType
    status: StepStatus = StepStatus.RUNNING
    branch: str | None = None
    started_us: int
    finished_us: int | None = None
    attempts: int = 1
    reason: Reason | None = None
    evidence: Evidence | None = None
    #: The event that resumed it; None also when it is no longer kept.
    event: Event | None = None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One passage of one contact through one version.

    `at_us` is the time of the run itself: that of the event, timer or message that moved it last.
    It lags behind the wall clock when processing does, so that what is decided does not depend on
    how late it is decided.
    """

    id: str
    automation_id: str
    version: int
    trigger: Event
    status: RunStatus
    at_us: int
    reason: Reason | None = None
    outcome: Outcome | None = None
    #: The step it stands at, or ended at.
    at_step: str | None = None
    depth: int = 0
    #: In the order in which they were reached.
    steps: tuple[StepRecord, ...] = ()
    waits: tuple[Wait, ...] = ()
    #: Event name -> sequence of the last one that the run has used up.
    used: dict[str, int] = {}
    #: An event that fits an exit rule was received after a timer that was not handled yet.
    exit_pending: bool = False
    finished_us: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether anything can still happen in it by itself."""
        return self.status in OPEN_RUNS

    @property
    def open_wait(self) -> Wait | None:
        """What the run stands still for; None when it is not waiting."""
        return next(
            (
                wait
                for wait in reversed(self.waits)
                if wait.status is WaitStatus.WAITING and wait.kind is not WaitKind.EXIT
            ),
            None,
        )

    def record(self, key: str) -> StepRecord | None:
        """What became of a step; None when it was not reached."""
        return next((record for record in self.steps if record.key == key), None)


def stable_id(run_id: str, *parts: str) -> str:
    """An id that is the same however often a decision is made: of a wait, or of an effect."""
    return str(uuid5(_NAMESPACE, "/".join((run_id, *parts))))
