"""`POST /dead-letters/replay` and `/replays`: replays of many dead letters."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.deliveries.dead_letters import (
    PER_SECOND_DEFAULT,
    PER_SECOND_MAX,
    ReplayRequest,
    read_replay,
)
from headrace.domain.errors import ApiError, ErrorCode
from headrace.domain.ids import new_uuid, uuid_text
from headrace.http.deliveries.dead_letters import (
    CAUSE,
    DeadLetterResponse,
    KindName,
    dead_letter_response,
    filter_of,
    reject_fields,
)
from headrace.http.routing.context import Context, context_of, json_response
from headrace.http.routing.media import read_body
from headrace.http.routing.parameters import PAGE
from headrace.http.routing.path import not_found, path_uuid
from headrace.http.routing.route import accepted, empty_body, get, json_body, ok, page, post
from headrace.http.routing.schema import EventName, Id, about
from headrace.store.contract.dead_letters import (
    RUNNING_MAX,
    SAMPLE_MAX,
    NewReplay,
    Replay,
    TooManyReplaysError,
)


class ReplayFilter(msgspec.Struct, forbid_unknown_fields=True):
    """Filter for dead letters; all fields that are set must match, `{}` matches all."""

    event: EventName | None = None
    subscriber_id: Id | None = None
    cause: Annotated[str | None, about(**CAUSE)] = None
    kind: KindName | None = None


class ReplayInput(msgspec.Struct, forbid_unknown_fields=True):
    """A replay of many dead letters."""

    filter: ReplayFilter
    dry_run: Annotated[bool | None, about("Only report what it would do.")] = None
    per_second: Annotated[
        int | None,
        about(
            "Maximum replays per second.",
            minimum=1,
            maximum=PER_SECOND_MAX,
            default=PER_SECOND_DEFAULT,
        ),
    ] = None


class ReplayDryRun(msgspec.Struct, kw_only=True):
    """Preview of a replay."""

    count: int
    sample: Annotated[list[DeadLetterResponse], about("The newest matches.", maxItems=SAMPLE_MAX)]


class ReplayResponse(msgspec.Struct, kw_only=True):
    """A replay of many dead letters, or a job that sends events to a webhook again."""

    id: Id
    webhook_id: Annotated[
        Id | None, about("Where events are sent again; null for a replay of dead letters.")
    ] = None
    status: Literal["running", "done", "stopped"]
    total: Annotated[int, about("Dead letters or events that matched when it was created.")]
    done: Annotated[int, about("Replayed or queued again so far.")]
    succeeded: Annotated[
        int | None, about("Replayed ones that have succeeded by now. Null in lists.")
    ] = None
    failed_again: Annotated[
        int | None, about("Replayed ones that are dead letters again. Null in lists.")
    ] = None
    pending: Annotated[
        int | None, about("Replayed ones that are not decided yet. Null in lists.")
    ] = None


def replay_response(replay: Replay) -> ReplayResponse:
    """A replay without its outcome."""
    return ReplayResponse(
        id=replay.id,
        webhook_id=None if replay.resend is None else replay.resend.webhook_id,
        status=replay.status.value,
        total=replay.total,
        done=replay.done,
    )


async def replay_many(request: Request) -> Response:
    """`POST /dead-letters/replay`: a preview, or a job that replays."""
    context = context_of(request)
    wish = read_replay(await read_body(request))
    if wish.dry_run:
        return await _dry_run(context, wish)
    return await _create(context, wish)


async def _dry_run(context: Context, wish: ReplayRequest) -> Response:
    project_id, wanted = context.project_id, filter_of(wish.wanted)
    dead_letters = context.services.store.dead_letters
    count, _ = await dead_letters.count(project_id, wanted)
    page = await dead_letters.list(project_id, wanted, before=None, limit=SAMPLE_MAX)
    while count and not page.dead_letters and page.next_before is not None:
        page = await dead_letters.list(
            project_id, wanted, before=page.next_before, limit=SAMPLE_MAX
        )
    sample = [dead_letter_response(dead_letter) for dead_letter in page.dead_letters]
    return json_response({"data": ReplayDryRun(count=count, sample=sample)})


async def _create(context: Context, wish: ReplayRequest) -> Response:
    services, principal = context.services, context.principal
    project_id, wanted = principal.project.id, filter_of(wish.wanted)
    total, last_number = await services.store.dead_letters.count(project_id, wanted)
    replay = NewReplay(
        id=uuid_text(new_uuid()),
        project_id=project_id,
        wanted=wanted,
        per_second=wish.per_second,
        total=total,
        last_number=last_number,
        actor=principal.key_id,
    )
    try:
        created = await services.store.replays.create(replay, services.clock_us())
    except TooManyReplaysError:
        message = f"{RUNNING_MAX} replays of this project are already running; stop one or wait."
        raise ApiError(ErrorCode.CONFLICT, message) from None
    return json_response({"data": replay_response(created)}, 202)


async def list_replays(request: Request) -> Response:
    """`GET /replays`: newest first."""
    context = context_of(request)
    limit = context.limit
    project_id = context.project_id
    scope = f"replays {project_id}"
    cursors = context.services.cursors
    before = context.before(scope)
    found = await context.services.store.replays.list(project_id, before=before, limit=limit + 1)
    following = cursors.make(found[limit - 1].number, scope) if len(found) > limit else None
    return json_response(
        {"data": [replay_response(replay) for replay in found[:limit]], "next_cursor": following}
    )


async def get_replay(request: Request) -> Response:
    """`GET /replays/{id}`."""
    context = context_of(request)
    found = await context.services.store.replays.get(context.project_id, path_uuid(request))
    if found is None:
        raise not_found()
    return json_response({"data": await _with_outcome(context, found)})


async def stop_replay(request: Request) -> Response:
    """`POST /replays/{id}/stop`: the dead letters it has replayed stay replayed."""
    context, replay_id = context_of(request), path_uuid(request)
    await reject_fields(request)
    services, principal = context.services, context.principal
    stopped, found = await services.store.replays.stop(
        principal.project.id, replay_id, services.clock_us(), actor=principal.key_id
    )
    if found is None:
        raise not_found()
    if not stopped:
        raise ApiError(ErrorCode.CONFLICT, f"This replay is already {found.status.value}.")
    return json_response({"data": await _with_outcome(context, found)})


async def _with_outcome(context: Context, replay: Replay) -> ReplayResponse:
    outcome = await context.services.store.replays.outcome(replay)
    return msgspec.structs.replace(replay_response(replay), **msgspec.structs.asdict(outcome))


ROUTES = (
    post(
        "/dead-letters/replay",
        replay_many,
        name="replayDeadLetters",
        summary="Replay all matching dead letters, or preview them",
        description=f"At most {RUNNING_MAX} replays of a project run at once.",
        bodies=json_body(
            ReplayInput, example={"filter": {"event": "order.completed"}, "dry_run": True}
        ),
        responses=(
            accepted("A job that runs in the background.", ReplayResponse),
            ok("With dry_run: what would happen.", ReplayDryRun),
        ),
        errors=(ErrorCode.CONFLICT,),
    ),
    get(
        "/replays",
        list_replays,
        name="listReplays",
        summary="List replays",
        parameters=PAGE,
        responses=(page(ReplayResponse),),
    ),
    get(
        "/replays/{id}",
        get_replay,
        name="getReplay",
        summary="Get a replay",
        responses=(ok("The replay.", ReplayResponse),),
    ),
    post(
        "/replays/{id}/stop",
        stop_replay,
        name="stopReplay",
        summary="Stop a replay",
        description="What was already queued again stays queued.",
        bodies=empty_body(),
        responses=(ok("The stopped replay.", ReplayResponse),),
        errors=(ErrorCode.CONFLICT,),
    ),
)
