"""Reading events: `GET /events`, one by id or key, and the live stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from headrace.domain.access.api_keys import Scope
from headrace.domain.errors import ApiError, ErrorCode
from headrace.domain.events.event import NewEvent, Status, StoredEvent
from headrace.http.events.responses import Event, Incomplete, event_response
from headrace.http.routing.context import context_of, json_response
from headrace.http.routing.parameters import PAGE, in_path
from headrace.http.routing.path import not_found, read_uuid
from headrace.http.routing.query import EVENT_FILTERS, event_filter
from headrace.http.routing.route import get, ok, page, whole
from headrace.http.routing.schema import IDEMPOTENCY_KEY
from headrace.pipeline.streams.streams import Stream, StreamRejectedError

#: Interval of comments while there are no events, so that proxies keep the connection.
HEARTBEAT_SECONDS = 15.0
#: `Retry-After` when a stream is rejected.
STREAM_RETRY_SECONDS = 30


async def list_events(request: Request) -> Response:
    """`GET /events`."""
    context = context_of(request)
    limit, wanted = context.limit, event_filter(context.query)
    project_id = context.project_id
    scope = f"events {project_id} {msgspec.json.encode(wanted).decode()}"
    before = context.before(scope)
    found = await context.services.store.events.list(project_id, wanted, before=before, limit=limit)
    following = (
        None
        if found.next_before is None
        else context.services.cursors.make(found.next_before, scope)
    )
    shown = [event_response(event) for event in found.events]
    body: dict[str, Any] = {"data": shown, "next_cursor": following}
    if found.unindexed is not None:
        body["incomplete"] = Incomplete(unindexed=found.unindexed)
    return json_response(body)


async def get_event(request: Request) -> Response:
    """`GET /events/{id}`."""
    context = context_of(request)
    event_id = read_uuid(request.path_params["id"])
    found = await context.services.store.events.get(context.project_id, event_id)
    return _response_or_404(found)


async def get_by_key(request: Request) -> Response:
    """`GET /events/by-idempotency-key/{key}`; the key may hold slashes."""
    context = context_of(request)
    key = request.path_params["key"]
    found = await context.services.store.events.get_by_key(context.project_id, key)
    return _response_or_404(found)


def _response_or_404(found: StoredEvent | None) -> Response:
    if found is None:
        raise not_found()
    return json_response({"data": event_response(found)})


async def stream(request: Request) -> Response:
    """`GET /events/stream`: accepted events of the project as server-sent events."""
    stream = _open_stream(request)

    async def messages() -> AsyncIterator[bytes]:
        try:
            yield b"retry: 1000\n: connected\n\n"
            while (taken := await stream.next(HEARTBEAT_SECONDS)) is not None:
                events, missed = taken
                if missed:
                    yield b'event: missed\ndata: {"count":%d}\n\n' % missed
                if not events:
                    yield b": still here\n\n"
                    continue
                yield b"".join(_message(event) for event in events)
            yield b'event: end\ndata: {"reason":"%b"}\n\n' % str(stream.end_reason).encode()
        finally:
            stream.close()

    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(messages(), media_type="text/event-stream", headers=headers)


def _open_stream(request: Request) -> Stream:
    context = context_of(request)
    services, principal = context.services, context.principal
    try:
        return services.streams.open(
            principal.project.id,
            f"key {principal.key_id}",
            lambda: services.access.confirmed(principal, Scope.READ),
            request.scope["state"]["cut"],
        )
    except StreamRejectedError as error:
        code = ErrorCode.RATE_LIMITED if error.limit.is_own else ErrorCode.OVERLOADED
        raise ApiError(code, str(error), retry_after_s=STREAM_RETRY_SECONDS) from None


def _message(event: NewEvent) -> bytes:
    shown = event_response(_as_stored(event))
    # The sent JSON may contain newlines between members; in SSE each line needs `data:`.
    data = b"\ndata: ".join(msgspec.json.encode(shown).splitlines())
    return b"event: event\nid: %b\ndata: %b\n\n" % (shown.id.encode(), data)


def _as_stored(event: NewEvent) -> StoredEvent:
    values = msgspec.structs.asdict(event)
    del values["lane"], values["idempotency_hash"]
    return StoredEvent(
        **values,
        status=Status.ACCEPTED,
        resolved_contact_id=None,
        attempts=0,
        last_error=None,
    )


ROUTES = (
    get(
        "/events",
        list_events,
        name="listEvents",
        summary="List events",
        description="All given filters must match.",
        parameters=(*EVENT_FILTERS, *PAGE),
        responses=(page(Event, beside={"incomplete": Incomplete}),),
    ),
    get(
        "/events/stream",
        stream,
        name="streamEvents",
        summary="Watch events as they are accepted",
        description="The stream ends within 5 seconds after the key loses read access.",
        responses=(
            whole(
                "Server-sent events: `event` with an Event as data, `missed` with a count when the "
                "reader was too slow, `end` with a reason as the last one when the server ends the "
                "stream.",
                {"type": "string"},
                media="text/event-stream",
                is_stream=True,
            ),
        ),
        errors=(ErrorCode.RATE_LIMITED,),
    ),
    get(
        "/events/by-idempotency-key/{key:path}",
        get_by_key,
        name="getEventByKey",
        summary="Get an event by its idempotency key",
        parameters=(in_path("key", **IDEMPOTENCY_KEY),),
        responses=(ok("The event.", Event),),
    ),
    get(
        "/events/{id}",
        get_event,
        name="getEvent",
        summary="Get an event",
        responses=(ok("The event.", Event),),
    ),
)
