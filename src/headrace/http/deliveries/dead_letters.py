"""`/dead-letters`: final failures, to be replayed or discarded."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.deliveries.dead_letters import (
    CAUSE_CHARACTERS_MAX,
    CAUSE_PATTERN,
    FILTERS,
    KINDS,
    REASON_CHARACTERS_MAX,
    check_cause,
    read_reason,
)
from headrace.domain.errors import ApiError, ErrorCode
from headrace.domain.events.fields import check_event_name
from headrace.domain.events.problems import read_object
from headrace.domain.ids import uuid_text
from headrace.domain.json_fields import FieldReader
from headrace.domain.timestamps import to_text
from headrace.http.routing.context import Context, context_of, json_response
from headrace.http.routing.media import read_body
from headrace.http.routing.parameters import PAGE, one_of, text, uuid
from headrace.http.routing.path import not_found, read_uuid
from headrace.http.routing.route import empty_body, get, json_body, ok, page, post
from headrace.http.routing.schema import EVENT_NAME, EventName, Id, Time, about
from headrace.store.contract.dead_letters import (
    Closed,
    Closing,
    DeadLetter,
    DeadLetterFilter,
    DeadLetterGroup,
)

KindName = Literal["processing", "delivery", "automation"]


class DeadLetterResponse(msgspec.Struct, kw_only=True):
    """An event, delivery or run of an automation that failed for good."""

    id: Id
    event_id: Id
    event: EventName
    kind: KindName
    subscriber_id: Annotated[Id | None, about("Set for a delivery only.")]
    run_id: Annotated[
        Id | None,
        about("Set if a run of an automation failed; else null."),
    ]
    cause: str
    error: str
    attempts: int
    first_failed_at: Time
    dead_lettered_at: Time


class DeadLetterGroupResponse(msgspec.Struct, kw_only=True):
    """Open dead letters of the same kind, subscriber, cause and event."""

    kind: KindName
    subscriber_id: Id | None
    cause: str
    event: EventName
    count: int
    first_dead_lettered_at: Time
    last_dead_lettered_at: Time


_PRINTED = r"[^\x00-\x1f\x7f-\x9f]"


Reason = Annotated[
    str,
    about(
        minLength=1,
        maxLength=REASON_CHARACTERS_MAX,
        pattern=f"^{_PRINTED}*[^\\s\\x00-\\x1f\\x7f-\\x9f]{_PRINTED}*$",
    ),
]


class DiscardInput(msgspec.Struct, forbid_unknown_fields=True):
    """Why a dead letter is closed."""

    reason: Reason


_REJECTED = {
    Closing.CLOSED_BEFORE: "This dead letter was already replayed or discarded.",
    Closing.NOTHING_TO_REPLAY: "The event, delivery or run is no longer dead-lettered.",
    Closing.SUBSCRIBER_DELETED: "The subscriber was deleted, so it cannot be delivered.",
    Closing.SUBSCRIBER_DISABLED: "The subscriber is disabled; enable it first.",
}


def dead_letter_response(dead_letter: DeadLetter) -> DeadLetterResponse:
    """A dead letter as the API shows it."""
    return DeadLetterResponse(
        id=dead_letter.id,
        event_id=uuid_text(dead_letter.event_id),
        event=dead_letter.event,
        kind=dead_letter.kind.value,
        subscriber_id=dead_letter.subscriber_id,
        run_id=dead_letter.run_id,
        cause=dead_letter.cause,
        error=dead_letter.error,
        attempts=dead_letter.attempts,
        first_failed_at=to_text(dead_letter.first_failed_us),
        dead_lettered_at=to_text(dead_letter.dead_lettered_us),
    )


def _group_response(group: DeadLetterGroup) -> DeadLetterGroupResponse:
    return DeadLetterGroupResponse(
        kind=group.kind.value,
        subscriber_id=group.subscriber_id,
        cause=group.cause,
        event=group.event,
        count=group.count,
        first_dead_lettered_at=to_text(group.first_us),
        last_dead_lettered_at=to_text(group.last_us),
    )


def filter_of(values: dict[str, str]) -> DeadLetterFilter:
    """The filter of checked values."""
    return msgspec.convert(values, DeadLetterFilter)


CAUSE: dict[str, Any] = {
    "pattern": f"^{CAUSE_PATTERN}$",
    "maxLength": CAUSE_CHARACTERS_MAX,
    "examples": ["deadline_exceeded"],
}
_FILTERS = (
    text("event", check_event_name, "Name of the event.", **EVENT_NAME),
    uuid("subscriber_id", "Deliveries to this subscriber."),
    text("cause", check_cause, "Why it failed.", **CAUSE),
    one_of("kind", KINDS, "What failed: processing an event, a delivery, or an automation."),
)


def _wanted(context: Context) -> DeadLetterFilter:
    return filter_of({name: context.query[name] for name in FILTERS if name in context.query})


async def list_dead_letters(request: Request) -> Response:
    """`GET /dead-letters`: open ones, newest first."""
    context = context_of(request)
    limit, wanted = context.limit, _wanted(context)
    project_id = context.project_id
    scope = f"dead-letters {project_id} {msgspec.json.encode(wanted).decode()}"
    cursors = context.services.cursors
    before = context.before(scope)
    found = await context.services.store.dead_letters.list(
        project_id, wanted, before=before, limit=limit
    )
    following = None if found.next_before is None else cursors.make(found.next_before, scope)
    shown = [dead_letter_response(dead_letter) for dead_letter in found.dead_letters]
    return json_response({"data": shown, "next_cursor": following})


async def list_groups(request: Request) -> Response:
    """`GET /dead-letters/groups`: the most frequent first. Every page counts again."""
    context = context_of(request)
    limit, wanted = context.limit, _wanted(context)
    project_id = context.project_id
    scope = f"dead-letter groups {project_id} {msgspec.json.encode(wanted).decode()}"
    cursors = context.services.cursors
    start = context.before(scope) or 0
    groups = await context.services.store.dead_letters.groups(project_id, wanted)
    end = start + limit
    following = cursors.make(end, scope) if end < len(groups) else None
    shown = [_group_response(group) for group in groups[start:end]]
    return json_response({"data": shown, "next_cursor": following})


async def replay_one(request: Request) -> Response:
    """`POST /dead-letters/{id}/replay`: only what failed is run again."""
    context, dead_letter_id = context_of(request), _id(request)
    await reject_fields(request)
    services, principal = context.services, context.principal
    closed = await services.store.dead_letters.replay(
        principal.project.id, dead_letter_id, services.clock_us(), actor=principal.key_id
    )
    return _closed(closed)


async def discard_one(request: Request) -> Response:
    """`POST /dead-letters/{id}/discard`: what failed stays as it is."""
    context, dead_letter_id = context_of(request), _id(request)
    reason = read_reason(await read_body(request))
    services, principal = context.services, context.principal
    closed = await services.store.dead_letters.discard(
        principal.project.id, dead_letter_id, reason, services.clock_us(), actor=principal.key_id
    )
    return _closed(closed)


async def reject_fields(request: Request) -> None:
    """Accept an empty body only: none at all, or `{}`.

    Raises:
        ApiError: it has fields, which would be ignored.
    """
    if await request.body():
        FieldReader(read_object(await read_body(request)), (), "this request").raise_if_any()


def _id(request: Request) -> str:
    return uuid_text(read_uuid(request.path_params["id"]))


def _closed(closed: Closed) -> Response:
    if closed.closing in _REJECTED:
        raise ApiError(ErrorCode.CONFLICT, _REJECTED[closed.closing])
    if closed.dead_letter is None:
        raise not_found()
    return json_response({"data": dead_letter_response(closed.dead_letter)})


ROUTES = (
    get(
        "/dead-letters",
        list_dead_letters,
        name="listDeadLetters",
        summary="List open dead letters",
        parameters=(*_FILTERS, *PAGE),
        responses=(page(DeadLetterResponse),),
    ),
    get(
        "/dead-letters/groups",
        list_groups,
        name="listDeadLetterGroups",
        summary="Count open dead letters by cause",
        parameters=(*_FILTERS, *PAGE),
        responses=(
            page(
                DeadLetterGroupResponse,
                "Groups of the same kind, subscriber, cause and event; the largest first.",
            ),
        ),
    ),
    post(
        "/dead-letters/{id}/replay",
        replay_one,
        name="replayDeadLetter",
        summary="Replay a dead letter",
        description=(
            "Runs the same event or delivery again; its attempts start from one. A run of an "
            "automation is retried at the step that failed."
        ),
        bodies=empty_body(),
        responses=(ok("It is queued again.", DeadLetterResponse),),
        errors=(ErrorCode.CONFLICT,),
    ),
    post(
        "/dead-letters/{id}/discard",
        discard_one,
        name="discardDeadLetter",
        summary="Discard a dead letter",
        description="The event, delivery or run stays as it is.",
        bodies=json_body(DiscardInput, example={"reason": "The order was cancelled."}),
        responses=(ok("The discarded dead letter.", DeadLetterResponse),),
        errors=(ErrorCode.CONFLICT,),
    ),
)
