"""`GET /rejections`: recent rejections and their reasons."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from headrace.http.events.responses import RejectionResponse, rejection_response
from headrace.http.routing.context import context_of, json_response
from headrace.http.routing.parameters import PAGE
from headrace.http.routing.route import get, page


async def list_rejections(request: Request) -> Response:
    """Newest first; an entry appears within a second of the rejection."""
    context = context_of(request)
    limit = context.limit
    project_id = context.project_id
    scope = f"rejections {project_id}"
    cursors = context.services.cursors
    before = context.before(scope)
    found = await context.services.store.rejections.list(project_id, before=before, limit=limit + 1)
    following = cursors.make(found[limit - 1].id, scope) if len(found) > limit else None
    shown = [rejection_response(rejection) for rejection in found[:limit]]
    return json_response({"data": shown, "next_cursor": following})


ROUTES = (
    get(
        "/rejections",
        list_rejections,
        name="listRejections",
        summary="List rejected requests",
        description="Only the structure of the body is shown. An entry appears within a second "
        "and is kept for 7 days.",
        parameters=PAGE,
        responses=(page(RejectionResponse),),
    ),
)
