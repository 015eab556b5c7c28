"""Decides whether an event begins a run."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from headrace.domain.automations.definition.model import ReentryMode, Trigger
from headrace.domain.automations.filters.evaluation import evaluate
from headrace.domain.automations.filters.values import is_missing
from headrace.domain.automations.running.matching import scalar_key
from headrace.domain.automations.running.reasons import Note, RunReason, explain
from headrace.domain.automations.running.runs import Event
from headrace.domain.automations.running.view import View, facts, look_up
from headrace.domain.events.event import Source

_SECOND_US = 1_000_000


class AutomationStatus(StrEnum):
    """`draft` -> `active` <-> `paused` -> `archived`."""

    DRAFT = "draft"
    ACTIVE = "active"
    PAUSED = "paused"
    ARCHIVED = "archived"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of earlier starts of a contact, over all versions, for one entry key."""

    last_start_us: int
    has_open_run: bool


class StartContext(msgspec.Struct, frozen=True, kw_only=True):
    """What decides besides event and trigger; read before, `entry` by the entry key."""

    status: AutomationStatus = AutomationStatus.ACTIVE
    is_erasing: bool = False
    entry: Entry | None = None
    open_runs_of_contact: int = 0
    open_runs_per_contact_max: int = 100
    automation_depth_max: int = 5
    #: False once an event has waited for the start limit up to the maximum.
    may_start: bool = True


class StartDecision(msgspec.Struct, frozen=True, kw_only=True):
    """A start, or the reason why not. `note` has evidence for a filter that was not met."""

    started: bool
    note: Note
    entry_key: str


def entry_key(trigger: Trigger, event: Event) -> str:
    """The key, besides the contact, by which re-entry counts; empty if the trigger has none.

    An event without the value counts by its own id, so it is unique.
    """
    path = trigger.reentry.key
    if path is None:
        return ""
    value = look_up(path, event, None, None)
    key = None if is_missing(value) else scalar_key(value)
    return f"e:{event.id}" if key is None else key


def decide_start(
    trigger: Trigger, event: Event, view: View | None, context: StartContext
) -> StartDecision:
    """Decide whether an event of the trigger's name begins a run.

    Filters come first: an event that they exclude is not reported as a rejected start. Then follow
    the automation, the contact, age and source of the event, re-entry, and limits.

    Args:
        trigger: of the version that is published.
        event: one of the trigger's name.
        view: None when the event belongs to no contact.
        context: everything else.
    """
    key = entry_key(trigger, event)
    verdict = evaluate(trigger.filters, facts(event, None, view, event.received_us))
    if not verdict.holds:
        reason, evidence = RunReason.FILTER_NOT_MET, verdict.evidence
    else:
        reason, evidence = _reason(trigger, event, view, context), None
    note = explain(reason, event.received_us, evidence=evidence)
    return StartDecision(started=reason is RunReason.STARTED, note=note, entry_key=key)


def _reason(trigger: Trigger, event: Event, view: View | None, context: StartContext) -> RunReason:
    age_us = event.received_us - event.occurred_us
    checks = (
        (context.status is AutomationStatus.PAUSED, RunReason.PAUSED),
        (context.status is not AutomationStatus.ACTIVE, RunReason.NOT_ACTIVE),
        (view is None, RunReason.NO_CONTACT),
        (context.is_erasing, RunReason.ERASED),
        (age_us > trigger.max_age_seconds * _SECOND_US, RunReason.TOO_OLD),
        (event.source == Source.IMPORT and not trigger.allow_imported, RunReason.IMPORTED),
        (event.depth > context.automation_depth_max, RunReason.LOOP),
    )
    for holds, reason in checks:
        if holds:
            return reason
    rejected = _reentry(trigger, event, context.entry)
    if rejected is not None:
        return rejected
    if context.open_runs_of_contact >= context.open_runs_per_contact_max:
        return RunReason.TOO_MANY_OPEN
    return RunReason.STARTED if context.may_start else RunReason.START_LIMIT


def _reentry(trigger: Trigger, event: Event, entry: Entry | None) -> RunReason | None:
    if entry is None:
        return None
    match trigger.reentry.mode:
        case ReentryMode.ONE_ACTIVE:
            return RunReason.REENTRY_ACTIVE if entry.has_open_run else None
        case ReentryMode.ONCE:
            return RunReason.REENTRY_ONCE
        case ReentryMode.ONCE_PER:
            since_us = event.received_us - entry.last_start_us
            within = since_us < trigger.reentry.seconds * _SECOND_US
            return RunReason.REENTRY_COOLDOWN if within else None
    return None
