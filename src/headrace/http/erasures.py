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
from headrace.http.query import PAGE, page_limit, read_flag
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


class MentionShown(msgspec.Struct, kw_only=True):
    """An event of somebody else that names the person."""

    event_id: str
    event: str
    #: Where, such as `payload.friend.email`; the first ten.
    places: tuple[str, ...]


class MentionsShown(msgspec.Struct, kw_only=True):
    """Events of others that name the person."""

    #: Events of the project that were searched so far.
    searched: int
    events: int
    #: In how many of them the names are masked now.
    masked: int
    #: The first hundred.
    listed: list[MentionShown]


class EarlierShown(msgspec.Struct, kw_only=True):
    """An erasure of the same person that was asked for before."""

    id: str
    counts: dict[str, int]
    requested_at: str
    finished_at: str | None


class ErasureShown(msgspec.Struct, kw_only=True):
    """An erasure: a job while it runs, a receipt when it is done. It names nobody."""

    id: str
    contact_id: str
    #: The contact's, and those of contacts that had been merged into it.
    contact_ids: tuple[str, ...]
    #: Whether it only tells what an erasure would remove; kept for a day.
    dry_run: bool
    mask_mentions: bool
    #: `wiping`: no row is left, only traces in files.
    status: StatusShown
    #: Rows that were removed, by place.
    counts: dict[str, int]
    mentions: MentionsShown
    #: Newest first, at most twenty.
    earlier: list[EarlierShown]
    #: Public id of the API key, or an operator.
    requested_by: str
    requested_at: str
    finished_at: str | None


def erasure_shown(erasure: Erasure) -> ErasureShown:
    """An erasure as the API shows it."""
    report = erasure.report
    mentions = report.mentions
    return ErasureShown(
        id=erasure.id,
        contact_id=erasure.contact_id,
        contact_ids=report.contact_ids,
        dry_run=erasure.dry_run,
        mask_mentions=report.mask_mentions,
        status=STATUS_SHOWN[erasure.status],
        counts=erasure.counts,
        mentions=MentionsShown(
            searched=mentions.searched,
            events=mentions.events,
            masked=mentions.masked,
            listed=[
                MentionShown(event_id=each.event_id, event=each.event, places=each.places)
                for each in mentions.listed
            ],
        ),
        earlier=[
            EarlierShown(
                id=each.id,
                counts=each.counts,
                requested_at=to_text(each.created_us),
                finished_at=_time(each.finished_us),
            )
            for each in report.earlier
        ],
        requested_by=erasure.actor,
        requested_at=to_text(erasure.created_us),
        finished_at=_time(erasure.finished_us),
    )


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else to_text(at_us)


#: Parameters of `DELETE /contacts/{id}?erase=true`.
PARAMETERS = ("mask_mentions", "dry_run")


async def erase_contact(context: Context, contact_id: str, query: dict[str, str]) -> Response:
    """Begin to forget a person; 200 if that is done at once, else 202 and the job goes on.

    Args:
        query: of `PARAMETERS`.
    """
    mask_mentions, dry_run = read_flag(query, "mask_mentions"), read_flag(query, "dry_run")
    services, principal = context.services, context.principal
    erasures, project_id = services.store.erasures, principal.project.id
    found = await erasures.begin(
        project_id,
        contact_id,
        services.clock_us(),
        actor=principal.key_id,
        mask_mentions=mask_mentions,
        dry_run=dry_run,
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
