"""`/automations/{id}`: publish checks, publishing, and the status of an automation."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.automations.running.starting import AutomationStatus
from headrace.domain.errors import ApiError, ErrorCode, FieldProblem
from headrace.http.automations.drafts import ARCHIVED, store_of
from headrace.http.automations.responses import (
    AutomationCheckResponse,
    AutomationPublishedResponse,
    AutomationResponse,
    automation_response,
    findings,
    version_response,
)
from headrace.http.deliveries.dead_letters import reject_fields
from headrace.http.routing.context import context_of, json_response
from headrace.http.routing.path import not_found, path_uuid
from headrace.http.routing.route import (
    delete,
    empty_body,
    no_content,
    ok,
    post,
)
from headrace.store.automations.automations import (
    Checked,
    TooManyAutomationsError,
    WrongStatusError,
)
from headrace.store.contract.automations import (
    VERSIONS_MAX,
    Automation,
)


async def validate_automation(request: Request) -> Response:
    """`POST /automations/{id}/validate`: the publish checks of the draft."""
    context, automation_id = context_of(request), path_uuid(request)
    await reject_fields(request)
    checked = await store_of(context).check(context.project_id, automation_id)
    if checked is None:
        raise not_found()
    report = checked.report
    shown = AutomationCheckResponse(
        ok=not report.problems,
        problems=findings(report.problems),
        problems_left_out=checked.left_out,
        warnings=findings(report.warnings),
    )
    return json_response({"data": shown})


async def publish_automation(request: Request) -> Response:
    """`POST /automations/{id}/publish`."""
    context, automation_id = context_of(request), path_uuid(request)
    await reject_fields(request)
    try:
        checked = await store_of(context).publish(
            context.project_id,
            automation_id,
            context.services.clock_us(),
            actor=context.principal.key_id,
        )
    except WrongStatusError:
        raise ApiError(ErrorCode.CONFLICT, ARCHIVED) from None
    except TooManyAutomationsError:
        message = f"An automation has at most {VERSIONS_MAX} versions."
        raise ApiError(ErrorCode.CONFLICT, message) from None
    if checked is None:
        raise not_found()
    return json_response({"data": _published(checked)})


def _published(checked: Checked) -> AutomationPublishedResponse:
    version, found = checked.version, checked.report.problems
    if version is None:
        count = len(found) + checked.left_out
        raise ApiError(
            ErrorCode.AUTOMATION_INVALID,
            f"{found[0].field}: {found[0].message} ({count} in all)",
            details=tuple(FieldProblem(each.field, each.message) for each in found),
        )
    return AutomationPublishedResponse(
        id=checked.automation.id,
        status=checked.automation.status,
        current_published_version=version_response(version, version.number),
        warnings=findings(checked.report.warnings),
    )


async def archive_automation(request: Request) -> Response:
    """`POST /automations/{id}/archive`."""
    return await _set_status(request, AutomationStatus.ARCHIVED)


async def _set_status(request: Request, status: AutomationStatus) -> Response:
    await reject_fields(request)
    changed = await _change_status(request, status)
    return json_response({"data": automation_response(changed)})


async def _change_status(request: Request, status: AutomationStatus) -> Automation:
    context = context_of(request)
    try:
        changed = await store_of(context).set_status(
            context.project_id,
            path_uuid(request),
            status,
            context.services.clock_us(),
            actor=context.principal.key_id,
        )
    except WrongStatusError:
        message = "The automation is archived, or was never published."
        raise ApiError(ErrorCode.CONFLICT, message) from None
    if changed is None:
        raise not_found()
    return changed


async def delete_automation(request: Request) -> Response:
    """`DELETE /automations/{id}`: archives it; its versions and runs stay."""
    await _change_status(request, AutomationStatus.ARCHIVED)
    return Response(status_code=204)


ROUTES = (
    post(
        "/automations/{id}/validate",
        validate_automation,
        name="validateAutomation",
        summary="Make the publish checks of a draft",
        bodies=empty_body(),
        responses=(ok("All problems and warnings.", AutomationCheckResponse),),
    ),
    post(
        "/automations/{id}/publish",
        publish_automation,
        name="publishAutomation",
        summary="Publish a draft as a version and activate the automation",
        description=(
            "All problems are listed at once. The version starts runs with events that are "
            "received from then on; open runs keep theirs."
        ),
        bodies=empty_body(),
        responses=(ok("Published.", AutomationPublishedResponse),),
        errors=(ErrorCode.AUTOMATION_INVALID, ErrorCode.CONFLICT),
    ),
    post(
        "/automations/{id}/archive",
        archive_automation,
        name="archiveAutomation",
        summary="Start no more runs, for good",
        description="Open runs go on to their end. The name is free again.",
        bodies=empty_body(),
        responses=(ok("The archived automation.", AutomationResponse),),
        errors=(ErrorCode.CONFLICT,),
    ),
    delete(
        "/automations/{id}",
        delete_automation,
        name="deleteAutomation",
        summary="Archive an automation",
        description="The same as archiving it: versions and runs stay.",
        responses=(no_content("Archived."),),
    ),
)
