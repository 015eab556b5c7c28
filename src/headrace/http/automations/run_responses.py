"""Requests and responses of runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from headrace.domain.automations.definition.model import StepType
from headrace.domain.automations.running.reasons import RunReason
from headrace.domain.automations.running.runs import Event, StepRecord, Wait
from headrace.domain.automations.running.states import (
    FoundBy,
    Outcome,
    RunStatus,
    StepStatus,
    WaitKind,
    WaitStatus,
)
from headrace.domain.messages.kinds import Channel
from headrace.domain.timestamps import to_text
from headrace.http.routing.context import Context
from headrace.http.routing.path import not_found
from headrace.http.routing.schema import Id, Time, about
from headrace.store.automations.run_rows import payload_text
from headrace.store.contract.automations import (
    NoteRow,
    RejectedStart,
    RunDetail,
    RunRow,
    RunStats,
)
from headrace.store.contract.messages import Message


class RunError(msgspec.Struct):
    """The last error of what is due in a run; it is retried."""

    message: str


class StepStatsResponse(msgspec.Struct, kw_only=True):
    """What runs of one version did at one step."""

    step_key: str
    waiting: Annotated[int, about("Open runs that are there now, of all open runs.")]
    entered: int
    passed: int
    failed: int
    sent: Annotated[int, about("Messages that a relay or push service has taken.")]
    skipped: Annotated[dict[str, int], about("By reason.")]


class VersionStatsResponse(msgspec.Struct, kw_only=True):
    """Runs of one version."""

    version_number: int
    runs: Annotated[dict[str, int], about("By status.")]
    steps: list[StepStatsResponse]


class StatsResponse(msgspec.Struct, kw_only=True):
    """How the newest runs of an automation went."""

    runs_examined: int
    has_more: Annotated[bool, about("Whether older runs were left out.")]
    versions: list[VersionStatsResponse]


def stats_response(of: RunStats) -> StatsResponse:
    """Counts by version and step."""
    return StatsResponse(
        runs_examined=of.examined,
        has_more=of.more,
        versions=[
            VersionStatsResponse(
                version_number=one.version,
                runs=one.runs,
                steps=[StepStatsResponse(**msgspec.structs.asdict(step)) for step in one.steps],
            )
            for one in of.versions
        ],
    )


class RunResponse(msgspec.Struct, kw_only=True):
    """A run without its steps."""

    id: Id
    automation_id: Id
    version_number: int
    mode: Literal["live"] = "live"
    contact_id: Id
    status: RunStatus
    status_reason: RunReason | None
    outcome: Outcome | None
    at_step: str | None
    started_at: Time
    finished_at: Time | None
    next_at: Annotated[Time | None, about("When it is looked at next.")]
    last_error: RunError | None


class RunEvent(msgspec.Struct, kw_only=True):
    """An event that a run has used."""

    id: Id
    event_name: str
    payload: dict[str, Any]
    occurred_at: Time


class RunWait(msgspec.Struct, kw_only=True):
    """Why a run waits or has waited."""

    id: Id
    step_key: str | None
    kind: WaitKind
    status: WaitStatus
    waiting_for_event_name: str | None
    timeout_at: Time | None
    held_until: Time | None
    resumed_at: Time | None
    timed_out_at: Time | None
    found_by: FoundBy | None


class RunMessage(msgspec.Struct, kw_only=True):
    """A mail that a step has queued."""

    id: Id
    subject: str | None
    status: str
    last_event: str | None
    template_version_id: Id | None
    contact_id: Id | None
    automation_step_key: str | None
    created_at: Time


class RunPush(msgspec.Struct, kw_only=True):
    """A push to the devices of the contact that a step has queued."""

    id: Id
    title: str | None
    status: str
    reason: str | None
    template_version_id: Id | None
    contact_id: Id | None
    automation_step_key: str | None
    created_at: Time


class RunStep(msgspec.Struct, kw_only=True):
    """A step that a run has reached."""

    step_key: str
    step_type: StepType
    status: StepStatus
    branch_taken: str | None
    reason: RunReason | None
    decision: Annotated[str | None, about("The comparison that decided.")]
    attempts: int
    started_at: Time
    finished_at: Time | None
    resumed_by_event: RunEvent | None
    waits: list[RunWait]
    linked_emails: list[RunMessage]
    linked_push_notifications: list[RunPush]


class RunDetailResponse(RunResponse, kw_only=True):
    """A run with its steps, waits, mails and pushes."""

    automation_version_id: Id | None
    trigger_event_name: str
    resolved_identity_type: str | None
    resolved_identity_value: str | None
    trigger_event: RunEvent
    steps: list[RunStep]
    waits: list[RunWait]
    sent_emails: list[RunMessage]
    sent_push_notifications: list[RunPush]


class RunNote(msgspec.Struct, kw_only=True):
    """One thing that was decided in a run, and why."""

    at: Time
    step_key: str | None
    reason: RunReason
    sentence: str


class RejectedStartResponse(msgspec.Struct, kw_only=True):
    """An event that would have started a run but for a rule."""

    event_id: Id
    contact_id: Id | None
    version_number: int
    reason: RunReason
    sentence: str
    at: Time


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else to_text(at_us)


def run_response(of: RunRow) -> RunResponse:
    """A run as in lists."""
    return RunResponse(
        id=of.id,
        automation_id=of.automation_id,
        version_number=of.version,
        contact_id=of.contact_id,
        status=of.status,
        status_reason=of.reason,
        outcome=of.outcome,
        at_step=of.at_step,
        started_at=to_text(of.started_us),
        finished_at=_time(of.finished_us),
        next_at=_time(of.due_us),
        last_error=None if of.error is None else RunError(of.error),
    )


def _event(of: Event) -> RunEvent:
    return RunEvent(
        id=of.id,
        event_name=of.name,
        payload=payload_text(of.payload),
        occurred_at=to_text(of.occurred_us),
    )


def _wait(of: Wait) -> RunWait:
    received = of.status in {WaitStatus.RECEIVED, WaitStatus.ELAPSED}
    return RunWait(
        id=of.id,
        step_key=of.step_key,
        kind=of.kind,
        status=of.status,
        waiting_for_event_name=of.awaited[0].event_name if of.awaited else None,
        timeout_at=_time(of.due_us),
        held_until=_time(of.held_until_us),
        resumed_at=_time(of.ended_us) if received else None,
        timed_out_at=_time(of.ended_us) if of.status is WaitStatus.TIMED_OUT else None,
        found_by=of.found_by,
    )


def _mails(messages: Sequence[Message]) -> list[RunMessage]:
    return [_message(each) for each in messages if each.channel is Channel.MAIL]


def _pushes(messages: Sequence[Message]) -> list[RunPush]:
    return [
        RunPush(
            id=each.id,
            title=each.subject,
            status=each.state.value,
            reason=each.reason,
            template_version_id=each.template_version_id,
            contact_id=each.contact_id,
            automation_step_key=each.step_key,
            created_at=to_text(each.created_us),
        )
        for each in messages
        if each.channel is Channel.PUSH
    ]


def _message(of: Message) -> RunMessage:
    return RunMessage(
        id=of.id,
        subject=of.subject,
        status=of.state.value,
        last_event=of.last_event,
        template_version_id=of.template_version_id,
        contact_id=of.contact_id,
        automation_step_key=of.step_key,
        created_at=to_text(of.created_us),
    )


def _step(of: StepRecord, detail: RunDetail) -> RunStep:
    messages = [each for each in detail.messages if each.step_key == of.key]
    return RunStep(
        step_key=of.key,
        step_type=of.type,
        status=of.status,
        branch_taken=of.branch,
        reason=of.reason,
        decision=None if of.evidence is None else of.evidence.sentence,
        attempts=of.attempts,
        started_at=to_text(of.started_us),
        finished_at=_time(of.finished_us),
        resumed_by_event=None if of.event is None else _event(of.event),
        waits=[_wait(wait) for wait in detail.run.waits if wait.step_key == of.key],
        linked_emails=_mails(messages),
        linked_push_notifications=_pushes(messages),
    )


def detail_response(of: RunDetail) -> RunDetailResponse:
    """A run with its steps, waits, mails and pushes."""
    kind, value = of.identity or (None, None)
    return RunDetailResponse(
        **msgspec.structs.asdict(run_response(of.row)),
        automation_version_id=of.version_id,
        trigger_event_name=of.run.trigger.name,
        resolved_identity_type=kind,
        resolved_identity_value=value,
        trigger_event=_event(of.run.trigger),
        steps=[_step(step, of) for step in of.run.steps],
        waits=[_wait(wait) for wait in of.run.waits],
        sent_emails=_mails(of.messages),
        sent_push_notifications=_pushes(of.messages),
    )


def note_response(of: NoteRow) -> RunNote:
    """One thing that was decided."""
    return RunNote(
        at=to_text(of.at_us), step_key=of.step_key, reason=of.reason, sentence=of.sentence
    )


def rejected_response(of: RejectedStart) -> RejectedStartResponse:
    """An event that started no run."""
    return RejectedStartResponse(
        event_id=of.event_id,
        contact_id=of.contact_id,
        version_number=of.version,
        reason=of.reason,
        sentence=of.sentence,
        at=to_text(of.at_us),
    )


async def found_run(context: Context, run_id: str) -> RunDetail:
    """A run of the project.

    Raises:
        ApiError: 404 when there is none.
    """
    found = await context.services.store.automations.runs.get(context.project_id, run_id)
    if found is None:
        raise not_found()
    return found
