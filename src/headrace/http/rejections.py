"""`GET /rejections`: what was refused lately and why."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from headrace.http.answers import rejection_shown
from headrace.http.context import context_of, json_response
from headrace.http.head import parse_query
from headrace.http.query import PAGE, page_limit


async def list_rejections(request: Request) -> Response:
    """Newest first; an entry appears within a second of the refusal."""
    context = context_of(request)
    query = parse_query(request.scope["query_string"], PAGE)
    limit = page_limit(query)
    project_id = context.principal.project.id
    scope = f"rejections {project_id}"
    cursors = context.services.cursors
    before = cursors.read(query["cursor"], scope) if "cursor" in query else None
    found = await context.services.store.rejections.list(project_id, before=before, limit=limit + 1)
    following = cursors.make(found[limit - 1].id, scope) if len(found) > limit else None
    shown = [rejection_shown(rejection) for rejection in found[:limit]]
    return json_response({"data": shown, "next_cursor": following})
