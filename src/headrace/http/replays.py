"""`POST /dead-letters/replay` and `/replays`: replays of many dead letters."""

from __future__ import annotations

from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.dead_letters import ReplayRequest, read_replay
from headrace.domain.errors import ApiError, ErrorCode
from headrace.domain.ids import new_uuid, uuid_text
from headrace.http.context import Context, context_of, json_response
from headrace.http.dead_letters import (
    DeadLetterShown,
    KindName,
    dead_letter_shown,
    filter_of,
    refuse_members,
)
from headrace.http.events import not_found, read_uuid
from headrace.http.head import parse_query
from headrace.http.media import read_json_body
from headrace.http.query import PAGE, page_limit
from headrace.store.contract_dead_letters import (
    RUNNING_MAX,
    SAMPLE_MAX,
    NewReplay,
    Replay,
    TooManyReplaysError,
)


class ReplayFilter(msgspec.Struct, forbid_unknown_fields=True):
    """Which dead letters are meant; every field that is set must match, `{}` means all."""

    event: str | None = None
    subscriber_id: str | None = None
    cause: str | None = None
    kind: KindName | None = None


class ReplayInput(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a replay of many."""

    filter: ReplayFilter
    dry_run: bool | None = None
    per_second: int | None = None


class DryRun(msgspec.Struct, kw_only=True):
    """What a replay would do."""

    count: int
    #: The newest of them.
    sample: list[DeadLetterShown]


class ReplayShown(msgspec.Struct, kw_only=True):
    """A replay of many."""

    id: str
    status: Literal["running", "done", "stopped"]
    #: Dead letters that matched when it was created.
    total: int
    #: Dead letters that it has replayed.
    done: int


def _shown(replay: Replay) -> ReplayShown:
    return ReplayShown(
        id=replay.id, status=replay.status.value, total=replay.total, done=replay.done
    )


async def replay_many(request: Request) -> Response:
    """`POST /dead-letters/replay`: what it would do, or a job that does it."""
    context = context_of(request)
    parse_query(request.scope["query_string"], ())
    wish = read_replay(await read_json_body(request))
    if wish.dry_run:
        return await _dry_run(context, wish)
    return await _create(context, wish)


async def _dry_run(context: Context, wish: ReplayRequest) -> Response:
    project_id, wanted = context.principal.project.id, filter_of(wish.wanted)
    dead_letters = context.services.store.dead_letters
    count, _ = await dead_letters.count(project_id, wanted)
    page = await dead_letters.list(project_id, wanted, before=None, limit=SAMPLE_MAX)
    while count and not page.dead_letters and page.next_before is not None:
        page = await dead_letters.list(
            project_id, wanted, before=page.next_before, limit=SAMPLE_MAX
        )
    sample = [dead_letter_shown(dead_letter) for dead_letter in page.dead_letters]
    return json_response({"data": DryRun(count=count, sample=sample)})


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
        message = f"{RUNNING_MAX} replays of this project run already; stop one or wait."
        raise ApiError(ErrorCode.CONFLICT, message) from None
    return json_response({"data": _shown(created)}, 202)


async def list_replays(request: Request) -> Response:
    """`GET /replays`: newest first."""
    context = context_of(request)
    query = parse_query(request.scope["query_string"], PAGE)
    limit = page_limit(query)
    project_id = context.principal.project.id
    scope = f"replays {project_id}"
    cursors = context.services.cursors
    before = cursors.read(query["cursor"], scope) if "cursor" in query else None
    found = await context.services.store.replays.list(project_id, before=before, limit=limit + 1)
    following = cursors.make(found[limit - 1].number, scope) if len(found) > limit else None
    return json_response(
        {"data": [_shown(replay) for replay in found[:limit]], "next_cursor": following}
    )


async def get_replay(request: Request) -> Response:
    """`GET /replays/{id}`."""
    context = context_of(request)
    found = await context.services.store.replays.get(context.principal.project.id, _id(request))
    if found is None:
        raise not_found()
    return json_response({"data": _shown(found)})


async def stop_replay(request: Request) -> Response:
    """`POST /replays/{id}/stop`: what it has replayed stays replayed."""
    context, replay_id = context_of(request), _id(request)
    await refuse_members(request)
    services, principal = context.services, context.principal
    stopped, found = await services.store.replays.stop(
        principal.project.id, replay_id, services.clock_us(), actor=principal.key_id
    )
    if found is None:
        raise not_found()
    if not stopped:
        raise ApiError(ErrorCode.CONFLICT, f"This replay is {found.status.value} already.")
    return json_response({"data": _shown(found)})


def _id(request: Request) -> str:
    parse_query(request.scope["query_string"], ())
    return uuid_text(read_uuid(request.path_params["id"]))
