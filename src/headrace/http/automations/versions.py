"""`/automations/{id}/versions`: published versions."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.http.automations.drafts import found_automation, store_of
from headrace.http.automations.responses import (
    AutomationVersionDetail,
    AutomationVersionResponse,
    raw,
    version_response,
)
from headrace.http.routing.context import context_of, json_response
from headrace.http.routing.parameters import PAGE, in_path
from headrace.http.routing.path import not_found, path_uuid
from headrace.http.routing.route import (
    get,
    ok,
    page,
)


async def list_automation_versions(request: Request) -> Response:
    """`GET /automations/{id}/versions`: newest first."""
    context, automation_id = context_of(request), path_uuid(request)
    held = await found_automation(context, automation_id)
    limit, scope = context.limit, f"automation versions {automation_id}"
    before = context.before(scope)
    found = await store_of(context).versions(
        context.project_id, automation_id, before=before, limit=limit + 1
    )
    versions = found or ()
    cursors = context.services.cursors
    following = cursors.make(versions[limit - 1].number, scope) if len(versions) > limit else None
    shown = [version_response(one, held.version) for one in versions[:limit]]
    return json_response({"data": shown, "next_cursor": following})


async def get_automation_version(request: Request) -> Response:
    """`GET /automations/{id}/versions/{number}`."""
    context, automation_id = context_of(request), path_uuid(request)
    number = request.path_params["number"]
    if not number.isascii() or not number.isdigit() or len(number) > 6:
        raise not_found()
    held = await found_automation(context, automation_id)
    found = await store_of(context).version(context.project_id, automation_id, int(number))
    if found is None:
        raise not_found()
    shown = AutomationVersionDetail(
        **msgspec.structs.asdict(version_response(found, held.version)),
        definition=raw(found.definition),
        sha256=found.sha256,
        published_by=found.published_by,
    )
    return json_response({"data": shown})


ROUTES = (
    get(
        "/automations/{id}/versions",
        list_automation_versions,
        name="listAutomationVersions",
        summary="List the versions of an automation",
        parameters=PAGE,
        responses=(page(AutomationVersionResponse),),
    ),
    get(
        "/automations/{id}/versions/{number}",
        get_automation_version,
        name="getAutomationVersion",
        summary="Get a version with its definition",
        parameters=(in_path("number", "Number of the version.", pattern="^[0-9]{1,6}$"),),
        responses=(ok("The version.", AutomationVersionDetail),),
    ),
)
