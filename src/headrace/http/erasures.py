"""`DELETE /contacts/{id}?erase=true` and `/erasures`: people who are to be forgotten."""

from __future__ import annotations

import asyncio
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.timestamps import to_text
from headrace.http.context import Context, context_of, json_response
from headrace.http.events import not_found
from headrace.http.head import parse_query
from headrace.http.path import path_uuid
from headrace.http.query import PAGE, page_limit
from headrace.store.contract_erasures import Erasure, ErasureStatus

#: How long the answer waits for the job to be done, and how often it looks.
WAIT_SECONDS_MAX = 3.0
LOOK_SECONDS = 0.1


StatusShown = Literal["running", "wiping", "done"]
STATUS_SHOWN: dict[ErasureStatus, StatusShown] = {
    ErasureStatus.RUNNING: "running",
    ErasureStatus.LOOKING: "running",
    ErasureStatus.WIPING: "wiping",
    ErasureStatus.DONE: "done",
}


class ErasureShown(msgspec.Struct, kw_only=True):
    """An erasure: a job while it runs, a receipt when it is done. It names nobody."""

    id: str
    contact_id: str
    #: `wiping`: no row is left, only traces in files.
    status: StatusShown
    #: Rows that were removed, by place.
    counts: dict[str, int]
    #: Public id of the API key, or an operator.
    requested_by: str
    requested_at: str
    finished_at: str | None


def erasure_shown(erasure: Erasure) -> ErasureShown:
    """An erasure as the API shows it."""
    return ErasureShown(
        id=erasure.id,
        contact_id=erasure.contact_id,
        status=STATUS_SHOWN[erasure.status],
        counts=erasure.counts,
        requested_by=erasure.actor,
        requested_at=to_text(erasure.created_us),
        finished_at=None if erasure.finished_us is None else to_text(erasure.finished_us),
    )


async def erase_contact(context: Context, contact_id: str) -> Response:
    """Begin to forget a person; 200 if that is done at once, else 202 and the job goes on."""
    services, principal = context.services, context.principal
    erasures, project_id = services.store.erasures, principal.project.id
    found = await erasures.begin(
        project_id, contact_id, services.clock_us(), actor=principal.key_id
    )
    if found is None:
        raise not_found()
    for _ in range(round(WAIT_SECONDS_MAX / LOOK_SECONDS)):
        if found.status is ErasureStatus.DONE or services.stopping.is_set():
            break
        await asyncio.sleep(LOOK_SECONDS)
        found = await erasures.get(project_id, found.id) or found
    status = 200 if found.status is ErasureStatus.DONE else 202
    return json_response({"data": erasure_shown(found)}, status)


async def get_erasure(request: Request) -> Response:
    """`GET /erasures/{id}`."""
    context = context_of(request)
    parse_query(request.scope["query_string"], ())
    found = await context.services.store.erasures.get(
        context.principal.project.id, path_uuid(request)
    )
    if found is None:
        raise not_found()
    return json_response({"data": erasure_shown(found)})


async def list_erasures(request: Request) -> Response:
    """`GET /erasures`: newest first."""
    context = context_of(request)
    query = parse_query(request.scope["query_string"], PAGE)
    limit = page_limit(query)
    project_id = context.principal.project.id
    scope = f"erasures {project_id}"
    cursors = context.services.cursors
    before = cursors.read(query["cursor"], scope) if "cursor" in query else None
    found = await context.services.store.erasures.list(project_id, before=before, limit=limit + 1)
    following = cursors.make(found[limit - 1].number, scope) if len(found) > limit else None
    shown = [erasure_shown(erasure) for erasure in found[:limit]]
    return json_response({"data": shown, "next_cursor": following})
