"""Cancelling and retrying runs: one, many, or those of a contact."""

from __future__ import annotations

from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.automations.running.states import RunStatus
from headrace.domain.errors import ApiError, ErrorCode, FieldProblem, invalid
from headrace.domain.events.fields import check_contact_id
from headrace.http.automations.drafts import found_automation
from headrace.http.automations.run_responses import (
    RunDetailResponse,
    RunResponse,
    detail_response,
    found_run,
    run_response,
)
from headrace.http.routing.context import context_of, json_response
from headrace.http.routing.media import read_body
from headrace.http.routing.parameters import uuid
from headrace.http.routing.path import not_found, path_uuid
from headrace.http.routing.route import delete, json_body, no_content, ok, post
from headrace.http.routing.schema import Id, Time, about
from headrace.pipeline.automations.run_requests import (
    REASON_CHARACTERS_MAX,
    STEP_KEY_PATTERN,
    check_reason,
    check_step_key,
    read_bulk,
    read_reason,
)
from headrace.store.automations.operations import NotEligibleError, RunOperations
from headrace.store.contract.automations import (
    BULK_COUNTED_MAX,
    BULK_RUNS_MAX,
    BULK_SAMPLE_MAX,
    VERSIONS_MAX,
    BulkResult,
    RunAction,
)

Reason = Annotated[str, about(minLength=1, maxLength=REASON_CHARACTERS_MAX, pattern=r"\S")]
StepKey = Annotated[str, about(pattern=f"^{STEP_KEY_PATTERN}$")]


class RunCancel(msgspec.Struct, forbid_unknown_fields=True):
    """Why a run is cancelled."""

    reason: Reason


class RunRetry(msgspec.Struct, forbid_unknown_fields=True):
    """Why a failed run is retried."""

    reason: Reason
    from_step: Annotated[
        StepKey | None,
        about("Where it continues: the step that failed, or one that the run has not reached."),
    ] = None


class ContactRunsCancel(msgspec.Struct, forbid_unknown_fields=True):
    """Why the runs of a contact are cancelled."""

    reason: Reason
    automation_id: Annotated[Id | None, about("Only those of this automation.")] = None


class RunFilterInput(msgspec.Struct, forbid_unknown_fields=True):
    """Which runs are meant; all fields that are set must match, `{}` means every run."""

    status: RunStatus | None = None
    version: Annotated[int | None, about(minimum=1, maximum=VERSIONS_MAX)] = None
    at_step: StepKey | None = None
    contact_id: Id | None = None
    started_before: Time | None = None


class RunsChange(msgspec.Struct, forbid_unknown_fields=True):
    """A change of many runs, the oldest first."""

    filter: RunFilterInput
    dry_run: Annotated[bool | None, about("Only report what it would do.")] = None
    reason: Annotated[Reason | None, about("Required unless it is a dry run.")] = None
    limit: Annotated[
        int | None,
        about("At most so many runs.", minimum=1, maximum=BULK_RUNS_MAX, default=BULK_RUNS_MAX),
    ] = None


class RunsChanged(msgspec.Struct, kw_only=True):
    """What a change of many runs has done, or with `dry_run` would do."""

    dry_run: bool
    count: Annotated[int, about(f"Runs; with `dry_run` up to {BULK_COUNTED_MAX}.")]
    has_more: Annotated[bool, about("Whether more runs match: send the request again.")]
    sample: Annotated[
        list[RunResponse], about("With `dry_run` the oldest ones.", maxItems=BULK_SAMPLE_MAX)
    ]


async def cancel_run(request: Request) -> Response:
    """`POST /automation-runs/{id}/cancel`."""
    context, run_id = context_of(request), path_uuid(request)
    check = read_reason(await read_body(request), "a cancellation")
    reason = check.text("reason", check_reason)
    check.raise_if_any()
    try:
        done = await _operations(request).cancel(
            context.project_id, run_id, reason or "", actor=context.principal.key_id
        )
    except NotEligibleError as error:
        raise ApiError(ErrorCode.NOT_ELIGIBLE, str(error)) from None
    if not done:
        raise not_found()
    return json_response({"data": detail_response(await found_run(context, run_id))})


async def retry_run(request: Request) -> Response:
    """`POST /automation-runs/{id}/retry`."""
    context, run_id = context_of(request), path_uuid(request)
    check = read_reason(await read_body(request), "a retry", "from_step")
    reason = check.text("reason", check_reason)
    from_step = check.text("from_step", check_step_key)
    check.raise_if_any()
    try:
        done = await _operations(request).retry(
            context.project_id,
            run_id,
            reason or "",
            from_step=from_step,
            actor=context.principal.key_id,
        )
    except NotEligibleError as error:
        raise ApiError(ErrorCode.NOT_ELIGIBLE, str(error)) from None
    if not done:
        raise not_found()
    return json_response({"data": detail_response(await found_run(context, run_id))})


async def cancel_runs(request: Request) -> Response:
    """`POST /automations/{id}/runs/cancel`."""
    return await _many(request, RunAction.CANCEL, "a cancellation")


async def retry_runs(request: Request) -> Response:
    """`POST /automations/{id}/runs/retry`."""
    return await _many(request, RunAction.RETRY, "a retry")


async def _many(request: Request, action: RunAction, what: str) -> Response:
    context, automation_id = context_of(request), path_uuid(request)
    await found_automation(context, automation_id)
    wish = read_bulk(await read_body(request), what)
    operations, project_id = _operations(request), context.project_id
    if wish.dry_run:
        found = await operations.preview(project_id, automation_id, action, wish.wanted)
        if found is None:
            raise not_found()
        sample = [run_response(row) for row in found.sample]
        shown = RunsChanged(dry_run=True, count=found.count, has_more=found.more, sample=sample)
        return json_response({"data": shown})
    done = await operations.apply(
        project_id,
        automation_id,
        action,
        wish.wanted,
        wish.reason or "",
        limit=wish.limit,
        actor=context.principal.key_id,
    )
    return _changed(done)


async def cancel_of_contact(request: Request) -> Response:
    """`POST /contacts/{id}/automations/cancel`."""
    context, contact_id = context_of(request), path_uuid(request)
    check = read_reason(await read_body(request), "a cancellation", "automation_id")
    reason = check.text("reason", check_reason)
    automation_id = check.text("automation_id", check_contact_id)
    check.raise_if_any()
    done = await _operations(request).cancel_of_contact(
        context.project_id,
        contact_id,
        automation_id,
        reason or "",
        actor=context.principal.key_id,
    )
    return _changed(done)


async def forget_entries(request: Request) -> Response:
    """`DELETE /automations/{id}/entries`."""
    context, automation_id = context_of(request), path_uuid(request)
    await found_automation(context, automation_id)
    contact_id = context.query.get("contact_id")
    if contact_id is None:
        raise invalid(FieldProblem("contact_id", "is required"))
    done = await _operations(request).forget_entries(
        context.project_id, automation_id, contact_id, actor=context.principal.key_id
    )
    if not done:
        raise not_found()
    return Response(status_code=204)


def _changed(done: BulkResult | None) -> Response:
    if done is None:
        raise not_found()
    return json_response(
        {"data": RunsChanged(dry_run=False, count=done.done, has_more=done.has_more, sample=[])}
    )


def _operations(request: Request) -> RunOperations:
    return context_of(request).services.store.automations.operations


_FILTER_EXAMPLE = {"filter": {"at_step": "mail", "version": 3}, "dry_run": True}

ROUTES = (
    post(
        "/automation-runs/{id}/cancel",
        cancel_run,
        name="cancelAutomationRun",
        summary="Cancel an open run",
        description="A mail that is still queued is cancelled, too; one that is being sent is not.",
        bodies=json_body(RunCancel, example={"reason": "The order was entered by mistake."}),
        responses=(ok("The cancelled run.", RunDetailResponse),),
        errors=(ErrorCode.NOT_ELIGIBLE,),
    ),
    post(
        "/automation-runs/{id}/retry",
        retry_run,
        name="retryAutomationRun",
        summary="Retry a failed run",
        description=(
            "The same run continues at the step that failed. Completed steps are not taken again; "
            "a mail that failed is sent again with the same id. The dead letter is closed."
        ),
        bodies=json_body(RunRetry, example={"reason": "The relay works again."}),
        responses=(ok("The run.", RunDetailResponse),),
        errors=(ErrorCode.NOT_ELIGIBLE,),
    ),
    post(
        "/automations/{id}/runs/cancel",
        cancel_runs,
        name="cancelAutomationRuns",
        summary="Cancel many open runs, or preview it",
        description=f"At most {BULK_RUNS_MAX} runs with each request.",
        bodies=json_body(RunsChange, example=_FILTER_EXAMPLE),
        responses=(ok("With dry_run: what would happen. Else what was done.", RunsChanged),),
    ),
    post(
        "/automations/{id}/runs/retry",
        retry_runs,
        name="retryAutomationRuns",
        summary="Retry many failed runs, or preview it",
        description=(
            f"At most {BULK_RUNS_MAX} runs with each request. Each continues at the step that "
            "failed, when a worker comes to it."
        ),
        bodies=json_body(RunsChange, example={"filter": {}, "reason": "The relay works again."}),
        responses=(ok("With dry_run: what would happen. Else what was done.", RunsChanged),),
    ),
    post(
        "/contacts/{id}/automations/cancel",
        cancel_of_contact,
        name="cancelContactAutomationRuns",
        summary="Cancel the open runs of a contact",
        description=f"At most {BULK_RUNS_MAX} runs with each request.",
        bodies=json_body(ContactRunsCancel, example={"reason": "The customer asked for it."}),
        responses=(ok("What was done.", RunsChanged),),
    ),
    delete(
        "/automations/{id}/entries",
        forget_entries,
        name="forgetAutomationEntries",
        summary="Forget earlier starts of a contact",
        description="The re-entry modes `once` and `once_per` then allow another start. With "
        "`one_active`, an open run still prevents one.",
        parameters=(uuid("contact_id", "The contact; required."),),
        responses=(no_content("Forgotten."),),
    ),
)
