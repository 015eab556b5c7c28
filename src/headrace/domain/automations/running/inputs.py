"""Inputs of a run."""

from __future__ import annotations

import msgspec

from headrace.domain.automations.running.reasons import RunReason
from headrace.domain.automations.running.runs import Event
from headrace.domain.automations.running.states import StepStatus


class EventArrived(msgspec.Struct, frozen=True):
    """An event of the run's contact was processed."""

    event: Event


class LookedBack(msgspec.Struct, frozen=True):
    """The events that a decision asked for."""

    events: tuple[Event, ...]


class TimerDue(msgspec.Struct, frozen=True, kw_only=True):
    """The timer of a wait is due.

    `oldest_unprocessed_us` is when the oldest event was received that is not processed yet, or
    waits in the contact's inbox; None when there is none.
    """

    wait_id: str
    oldest_unprocessed_us: int | None = None


class MessageFinished(msgspec.Struct, frozen=True, kw_only=True):
    """The outbox has finished the message of a step.

    `status` is `completed` when relay or service took it, else `skipped` or `failed`.
    """

    step_key: str
    status: StepStatus
    at_us: int
    reason: RunReason | None = None
    #: The relay's response, for the note; without addresses.
    detail: str = ""


class MessageDeferred(msgspec.Struct, frozen=True, kw_only=True):
    """A guardrail defers a message, or it is retried later."""

    step_key: str
    until_us: int
    #: None: the message failed for now and is retried.
    reason: RunReason | None = None


class Cancel(msgspec.Struct, frozen=True, kw_only=True):
    """The run has to end, with one of the reasons for ends."""

    reason: RunReason
    at_us: int
    detail: str = ""


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """Continue a failed run at the step that failed, or at one that it has not reached."""

    at_us: int
    from_step: str | None = None


class Continue(msgspec.Struct, frozen=True):
    """Continue a run whose contact was read again."""


class ContactChanged(msgspec.Struct, frozen=True):
    """Properties of the contact changed: possibly its time zone, or a date that a delay uses."""


Input = (
    EventArrived
    | LookedBack
    | TimerDue
    | MessageFinished
    | MessageDeferred
    | Cancel
    | Retry
    | Continue
    | ContactChanged
)
