"""`GET /contacts/{id}/export`: all that is kept about a person."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from headrace.domain.errors import ApiError, ErrorCode
from headrace.http.context import context_of
from headrace.http.events import not_found
from headrace.http.head import parse_query
from headrace.http.path import path_uuid
from headrace.http.query import read_flag
from headrace.pipeline.person_document import person_document
from headrace.store.contacts.person_export import EXPORTS_MAX

#: When a client that found no place may ask again.
RETRY_SECONDS = 5


async def export_person(request: Request) -> Response:
    """`GET /contacts/{id}/export`."""
    context = context_of(request)
    query = parse_query(request.scope["query_string"], ("mentions",))
    mentions = read_flag(query, "mentions") if "mentions" in query else True
    contact_id = path_uuid(request)
    exports = context.services.store.person_exports
    facts = await exports.find(context.principal.project.id, contact_id)
    if facts is None:
        raise not_found()
    if exports.is_full:
        message = f"{EXPORTS_MAX} exports are under way."
        raise ApiError(ErrorCode.OVERLOADED, message, retry_after_s=RETRY_SECONDS)
    headers = {
        "cache-control": "no-store",
        "content-disposition": f'attachment; filename="contact-{contact_id}.json"',
    }
    pieces = person_document(exports, facts, mentions=mentions)
    return StreamingResponse(pieces, media_type="application/json", headers=headers)
