"""Runs of automations, and events that started none."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.automations.running.states import (
    RunStatus,
)
from headrace.http.automations.run_responses import (
    RejectedStartResponse,
    RunDetailResponse,
    RunNote,
    RunResponse,
    StatsResponse,
    detail_response,
    found_run,
    note_response,
    rejected_response,
    run_response,
    stats_response,
)
from headrace.http.messages.messages import place_before
from headrace.http.routing.context import context_of, json_response
from headrace.http.routing.parameters import PAGE, one_of, text, uuid
from headrace.http.routing.path import not_found, path_uuid
from headrace.http.routing.route import Parameter, get, ok, page
from headrace.pipeline.automations.run_requests import check_step_key
from headrace.store.contract.automations import (
    VERSIONS_MAX,
    RunFilter,
)


async def list_runs(request: Request) -> Response:
    """`GET /automations/{id}/runs`: newest first."""
    context, automation_id = context_of(request), path_uuid(request)
    limit, status = context.limit, context.query.get("status")
    contact_id = context.query.get("contact_id")
    version, at_step = context.query.get("version"), context.query.get("at_step")
    scope = f"automation runs {automation_id} {status} {contact_id} {version} {at_step}"
    wanted = RunFilter(
        status=None if status is None else RunStatus(status),
        contact_id=contact_id,
        version=version,
        at_step=at_step,
    )
    found = await context.services.store.automations.runs.page(
        context.project_id,
        automation_id,
        wanted,
        before=place_before(context, scope),
        limit=limit,
    )
    if found is None:
        raise not_found()
    following = None
    if found.following is not None:
        started_us, run_id = found.following
        following = context.services.cursors.make_text(f"{started_us} {run_id}", scope)
    shown = [run_response(row) for row in found.rows]
    return json_response({"data": shown, "next_cursor": following})


async def get_stats(request: Request) -> Response:
    """`GET /automations/{id}/stats`: newest version first."""
    context = context_of(request)
    found = await context.services.store.automations.stats.of_automation(
        context.project_id, path_uuid(request), context.query.get("version")
    )
    if found is None:
        raise not_found()
    return json_response({"data": stats_response(found)})


def _check_version(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= VERSIONS_MAX:
        return int(text)
    message = f"must be a whole number from 1 to {VERSIONS_MAX}"
    raise ValueError(message)


_VERSION = Parameter(
    name="version",
    schema={"type": "integer", "minimum": 1, "maximum": VERSIONS_MAX},
    check=_check_version,
    description="Only those of this version.",
)


async def list_rejected_starts(request: Request) -> Response:
    """`GET /automations/{id}/rejected-starts`: newest first."""
    context, automation_id = context_of(request), path_uuid(request)
    limit, scope = context.limit, f"rejected starts {automation_id}"
    found = await context.services.store.automations.runs.rejected_starts(
        context.project_id, automation_id, before=context.before(scope), limit=limit + 1
    )
    if found is None:
        raise not_found()
    cursors = context.services.cursors
    following = cursors.make(found[limit - 1].sequence, scope) if len(found) > limit else None
    shown = [rejected_response(one) for one in found[:limit]]
    return json_response({"data": shown, "next_cursor": following})


async def get_run(request: Request) -> Response:
    """`GET /automation-runs/{id}`."""
    detail = await found_run(context_of(request), path_uuid(request))
    return json_response({"data": detail_response(detail)})


async def get_timeline(request: Request) -> Response:
    """`GET /automation-runs/{id}/timeline`: oldest first."""
    detail = await found_run(context_of(request), path_uuid(request))
    return json_response({"data": [note_response(note) for note in detail.notes]})


ROUTES = (
    get(
        "/automations/{id}/runs",
        list_runs,
        name="listAutomationRuns",
        summary="List the runs of an automation",
        parameters=(
            one_of("status", tuple(RunStatus), "Only those in this status."),
            uuid("contact_id", "Only those of this contact, of the newest 1,000 of it."),
            _VERSION,
            text("at_step", check_step_key, "Only those that are at this step, or ended there."),
            *PAGE,
        ),
        description="With `version` or `at_step`, one request compares up to 10,000 runs: a page "
        "may have few items, or none, and still have a `next_cursor`.",
        responses=(page(RunResponse),),
    ),
    get(
        "/automations/{id}/stats",
        get_stats,
        name="getAutomationStats",
        summary="Count runs by version and step",
        description="Open runs are counted up to 100,000; everything else of the newest 5,000 "
        "runs that are still kept.",
        parameters=(_VERSION,),
        responses=(ok("Newest version first.", StatsResponse),),
    ),
    get(
        "/automations/{id}/rejected-starts",
        list_rejected_starts,
        name="listRejectedStarts",
        summary="List events that started no run, and why",
        description="Events that only do not match the filters of the trigger are not listed.",
        parameters=PAGE,
        responses=(page(RejectedStartResponse),),
    ),
    get(
        "/automation-runs/{id}",
        get_run,
        name="getAutomationRun",
        summary="Get a run with its steps, waits and mails",
        responses=(ok("The run.", RunDetailResponse),),
    ),
    get(
        "/automation-runs/{id}/timeline",
        get_timeline,
        name="getAutomationRunTimeline",
        summary="Get what was decided in a run, and why",
        responses=(ok("Oldest first.", list[RunNote]),),
    ),
)
