"""`DELETE /contacts/{id}?erase=true` and `/erasures`: people whose data is removed."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.timestamps import to_text
from headrace.http.routing.context import Context, context_of, json_response
from headrace.http.routing.parameters import PAGE, flag
from headrace.http.routing.path import not_found, path_uuid
from headrace.http.routing.route import get, ok, page
from headrace.http.routing.schema import EventName, Id, Time, about
from headrace.store.contract.erasures import FINISH_HINT, Erasure, ErasureStatus

#: How long the response waits for the job to finish, and how often it polls.
WAIT_SECONDS_MAX = 3.0
LOOK_SECONDS = 0.1


StatusResponse = Literal["running", "wiping", "done"]
STATUS_SHOWN: dict[ErasureStatus, StatusResponse] = {
    ErasureStatus.RUNNING: "running",
    ErasureStatus.LOOKING: "running",
    ErasureStatus.WIPING: "wiping",
    ErasureStatus.DONE: "done",
}


class MentionResponse(msgspec.Struct, kw_only=True):
    """An event of another person that names this person."""

    event_id: Id
    event: EventName
    places: Annotated[
        tuple[str, ...], about("Places such as `payload.friend.email`; the first ten.")
    ]


class MentionsResponse(msgspec.Struct, kw_only=True):
    """Events of other people that name this person."""

    searched: Annotated[int, about("Events of the project that were searched so far.")]
    events: int
    masked: Annotated[int, about("Events in which the identifiers were masked.")]
    listed: Annotated[list[MentionResponse], about("The first hundred.")]


class EarlierResponse(msgspec.Struct, kw_only=True):
    """An earlier erasure of the same person."""

    id: Id
    counts: dict[str, int]
    requested_at: Time
    finished_at: Time | None


class ErasureResponse(msgspec.Struct, kw_only=True):
    """An erasure: a job while it runs, a receipt when it is done. It contains no personal data."""

    id: Id
    contact_id: Id
    contact_ids: Annotated[
        tuple[Id, ...],
        about("The id of the contact and of contacts that were merged into it."),
    ]
    dry_run: Annotated[
        bool, about("Whether this is a dry run, which removes nothing; kept for a day.")
    ]
    mask_mentions: bool
    status: Annotated[
        StatusResponse,
        about("`wiping`: all rows are removed; remains in files are being overwritten."),
    ]
    counts: Annotated[dict[str, int], about("Rows that were removed, by place.")]
    mentions: MentionsResponse
    earlier: Annotated[list[EarlierResponse], about("Newest first, at most twenty.")]
    copies_may_remain: Annotated[
        bool,
        about(
            "Whether copies of removed values may be left in unused bytes of the store's file, "
            "because it was too large to be rewritten; false after `headrace compact`."
        ),
    ]
    hint: Annotated[str | None, about("How to remove these copies, null when there are none.")]
    requested_by: Annotated[str, about("Public id of the API key, or an operator.")]
    requested_at: Time
    finished_at: Time | None


def erasure_response(erasure: Erasure) -> ErasureResponse:
    """An erasure as the API shows it."""
    report = erasure.report
    mentions = report.mentions
    return ErasureResponse(
        id=erasure.id,
        contact_id=erasure.contact_id,
        contact_ids=report.contact_ids,
        dry_run=erasure.dry_run,
        mask_mentions=report.mask_mentions,
        status=STATUS_SHOWN[erasure.status],
        counts=erasure.counts,
        mentions=MentionsResponse(
            searched=mentions.searched,
            events=mentions.events,
            masked=mentions.masked,
            listed=[
                MentionResponse(event_id=each.event_id, event=each.event, places=each.places)
                for each in mentions.listed
            ],
        ),
        earlier=[
            EarlierResponse(
                id=each.id,
                counts=each.counts,
                requested_at=to_text(each.created_us),
                finished_at=_time(each.finished_us),
            )
            for each in report.earlier
        ],
        copies_may_remain=report.copies_may_remain,
        hint=FINISH_HINT if report.copies_may_remain else None,
        requested_by=erasure.actor,
        requested_at=to_text(erasure.created_us),
        finished_at=_time(erasure.finished_us),
    )


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else to_text(at_us)


#: Parameters of `DELETE /contacts/{id}?erase=true`.
PARAMETERS = (
    flag("mask_mentions", "With erase: mask the person's identifiers in other people's events."),
    flag("dry_run", "With erase: only report what it would remove and find."),
)


async def erase_contact(context: Context, contact_id: str) -> Response:
    """Begin to erase a person; 200 if it finishes at once, else 202 and the job continues."""
    mask_mentions = context.query.get("mask_mentions", False)
    dry_run = context.query.get("dry_run", False)
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
    return json_response({"data": erasure_response(found)}, status)


async def get_erasure(request: Request) -> Response:
    """`GET /erasures/{id}`."""
    context = context_of(request)
    found = await context.services.store.erasures.get(context.project_id, path_uuid(request))
    if found is None:
        raise not_found()
    return json_response({"data": erasure_response(found)})


async def list_erasures(request: Request) -> Response:
    """`GET /erasures`: newest first."""
    context = context_of(request)
    limit = context.limit
    project_id = context.project_id
    scope = f"erasures {project_id}"
    cursors = context.services.cursors
    before = context.before(scope)
    found = await context.services.store.erasures.list(project_id, before=before, limit=limit + 1)
    following = cursors.make(found[limit - 1].number, scope) if len(found) > limit else None
    shown = [erasure_response(erasure) for erasure in found[:limit]]
    return json_response({"data": shown, "next_cursor": following})


ROUTES = (
    get(
        "/erasures",
        list_erasures,
        name="listErasures",
        summary="List erasures",
        parameters=PAGE,
        responses=(page(ErasureResponse),),
    ),
    get(
        "/erasures/{id}",
        get_erasure,
        name="getErasure",
        summary="Get an erasure: its progress, or the receipt",
        responses=(ok("The erasure.", ErasureResponse),),
    ),
)
