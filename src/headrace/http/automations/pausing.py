"""`/automations/{id}/pause` and `/resume`, with what happens to open runs."""

from __future__ import annotations

from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.errors import ApiError, ErrorCode
from headrace.http.automations.responses import AutomationResponse, automation_response
from headrace.http.routing.context import context_of, json_response
from headrace.http.routing.media import read_body
from headrace.http.routing.path import not_found, path_uuid
from headrace.http.routing.route import json_body, ok, post
from headrace.http.routing.schema import about
from headrace.pipeline.automations.pause_requests import (
    LATE_SECONDS_MAX,
    read_pause,
    read_resume,
)
from headrace.store.automations.automations import WrongStatusError
from headrace.store.automations.pausing import Pausing
from headrace.store.contract.automations import (
    BULK_COUNTED_MAX,
    Overdue,
    PauseMode,
    ResumePreview,
)

_WRONG_STATUS = "The automation is archived, or was never published."


class AutomationPause(msgspec.Struct, forbid_unknown_fields=True):
    """How an automation is paused."""

    mode: Annotated[
        PauseMode | None,
        about(
            "Open runs go on to their end (`drain`), stand still (`hold`) or are cancelled.",
            default=PauseMode.DRAIN.value,
        ),
    ] = None


class AutomationResume(msgspec.Struct, forbid_unknown_fields=True):
    """How an automation is resumed."""

    overdue: Annotated[
        Overdue | None,
        about(
            "Held runs that are overdue go on (`run`), go on without the sends that they reach "
            "late (`skip_sends`), or are cancelled.",
            default=Overdue.RUN.value,
        ),
    ] = None
    max_late_seconds: Annotated[
        int | None,
        about(
            "Runs that were due more recently are not overdue.",
            minimum=0,
            maximum=LATE_SECONDS_MAX,
            default=0,
        ),
    ] = None
    dry_run: Annotated[bool | None, about("Only report what is overdue.")] = None


class OverdueStep(msgspec.Struct, kw_only=True):
    """Overdue runs at one step."""

    version_number: int
    step_key: str | None
    runs: int
    sends: Annotated[list[str], about("Steps that may send something as soon as these runs go on.")]


class OverdueChoice(msgspec.Struct, kw_only=True):
    """What one choice would do."""

    overdue: Overdue
    runs_continued: int
    runs_cancelled: int
    sends_max: Annotated[int, about("Messages that may be sent late, at most.")]


class ResumeDryRun(msgspec.Struct, kw_only=True):
    """What is overdue, and what each choice would do."""

    overdue_runs: Annotated[int, about(f"Up to {BULK_COUNTED_MAX}.")]
    has_more: Annotated[bool, about("Whether there are more than that.")]
    steps: list[OverdueStep]
    choices: list[OverdueChoice]


class AutomationResumed(AutomationResponse, kw_only=True):
    """The active automation; with `dry_run` unchanged, and what is overdue."""

    preview: ResumeDryRun | None = None


async def pause_automation(request: Request) -> Response:
    """`POST /automations/{id}/pause`."""
    context, automation_id = context_of(request), path_uuid(request)
    mode = read_pause(await _body(request))
    try:
        changed = await _pausing(request).pause(
            context.project_id,
            automation_id,
            mode,
            context.services.clock_us(),
            actor=context.principal.key_id,
        )
    except WrongStatusError:
        raise ApiError(ErrorCode.CONFLICT, _WRONG_STATUS) from None
    if changed is None:
        raise not_found()
    return json_response({"data": automation_response(changed)})


async def resume_automation(request: Request) -> Response:
    """`POST /automations/{id}/resume`."""
    context, automation_id = context_of(request), path_uuid(request)
    wish = read_resume(await _body(request))
    now_us = context.services.clock_us()
    preview = None
    try:
        if wish.dry_run:
            preview = await _pausing(request).preview(
                context.project_id, automation_id, now_us, max_late_seconds=wish.max_late_seconds
            )
            changed = await context.services.store.automations.definitions.get(
                context.project_id, automation_id
            )
        else:
            changed = await _pausing(request).resume(
                context.project_id,
                automation_id,
                now_us,
                overdue=wish.overdue,
                max_late_seconds=wish.max_late_seconds,
                actor=context.principal.key_id,
            )
    except WrongStatusError:
        raise ApiError(ErrorCode.CONFLICT, _WRONG_STATUS) from None
    if changed is None:
        raise not_found()
    shown = AutomationResumed(
        **msgspec.structs.asdict(automation_response(changed)),
        preview=None if preview is None else _preview(preview),
    )
    return json_response({"data": shown})


def _preview(of: ResumePreview) -> ResumeDryRun:
    return ResumeDryRun(
        overdue_runs=of.runs,
        has_more=of.more,
        steps=[
            OverdueStep(
                version_number=each.version,
                step_key=each.at_step,
                runs=each.runs,
                sends=list(each.sends),
            )
            for each in of.steps
        ],
        choices=[
            OverdueChoice(
                overdue=choice,
                runs_continued=0 if choice is Overdue.CANCEL else of.runs,
                runs_cancelled=of.runs if choice is Overdue.CANCEL else 0,
                sends_max=of.sends if choice is Overdue.RUN else 0,
            )
            for choice in Overdue
        ],
    )


async def _body(request: Request) -> bytes:
    """The body, `{}` when there is none."""
    return await read_body(request) if await request.body() else b"{}"


def _pausing(request: Request) -> Pausing:
    return context_of(request).services.store.automations.pausing


ROUTES = (
    post(
        "/automations/{id}/pause",
        pause_automation,
        name="pauseAutomation",
        summary="Start no more runs",
        description=(
            "Open runs go on to their end, unless `mode` says otherwise. Held runs stand still "
            "when they are due, and their queued messages are not sent; events still count."
        ),
        bodies=json_body(AutomationPause, example={"mode": "hold"}, required=False),
        responses=(ok("The paused automation.", AutomationResponse),),
        errors=(ErrorCode.CONFLICT,),
    ),
    post(
        "/automations/{id}/resume",
        resume_automation,
        name="resumeAutomation",
        summary="Start runs again, or see what is overdue",
        description="With events that are received from then on.",
        bodies=json_body(
            AutomationResume,
            example={"overdue": "skip_sends", "max_late_seconds": 3600, "dry_run": True},
            required=False,
        ),
        responses=(ok("The active automation.", AutomationResumed),),
        errors=(ErrorCode.CONFLICT,),
    ),
)
