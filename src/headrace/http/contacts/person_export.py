"""`GET /contacts/{id}/export`: all stored data about a person."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from headrace.domain.errors import ApiError, ErrorCode
from headrace.http.routing.context import context_of
from headrace.http.routing.parameters import flag
from headrace.http.routing.path import not_found, path_uuid
from headrace.http.routing.route import get, ok
from headrace.pipeline.contacts.person_document import person_document
from headrace.store.privacy.person_export import EXPORTS_MAX

#: `Retry-After` when too many exports are running.
RETRY_SECONDS = 5


async def export_person(request: Request) -> Response:
    """`GET /contacts/{id}/export`."""
    context = context_of(request)
    mentions = context.query.get("mentions", True)
    contact_id = path_uuid(request)
    exports = context.services.store.person_exports
    facts = await exports.find(context.project_id, contact_id)
    if facts is None:
        raise not_found()
    if exports.is_full:
        message = f"{EXPORTS_MAX} exports are already running."
        raise ApiError(ErrorCode.OVERLOADED, message, retry_after_s=RETRY_SECONDS)
    headers = {
        "cache-control": "no-store",
        "content-disposition": f'attachment; filename="contact-{contact_id}.json"',
    }
    pieces = person_document(exports, facts, mentions=mentions)
    return StreamingResponse(pieces, media_type="application/json", headers=headers)


ROUTES = (
    get(
        "/contacts/{id}/export",
        export_person,
        name="exportContact",
        summary="Export all data about a person",
        parameters=(
            flag(
                "mentions",
                "Whether all events of the project are searched for the person's identifiers; true "
                "unless it is false.",
            ),
        ),
        responses=(
            ok(
                "One document, streamed: everything an erasure would remove, and which "
                "events of other people name the person. A truncated response is not valid JSON.",
                {"type": "object", "additionalProperties": True},
            ),
        ),
    ),
)
