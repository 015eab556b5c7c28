"""`GET /events/{id}/trace`: everything that happened to one event, in order, with reasons."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.http.events.responses import Event, event_response
from headrace.http.routing.context import context_of, json_response
from headrace.http.routing.path import not_found, read_uuid
from headrace.http.routing.route import get, ok
from headrace.pipeline.trace.entry import TraceEntry
from headrace.pipeline.trace.trace import trace_of


class TraceResponse(msgspec.Struct, kw_only=True):
    """An event with its trace."""

    event: Event
    entries: list[TraceEntry]


async def get_trace(request: Request) -> Response:
    """Built from what is stored anyway."""
    context = context_of(request)
    event_id = read_uuid(request.path_params["id"])
    facts = await context.services.store.trace.facts(context.project_id, event_id)
    if facts is None:
        raise not_found()
    trace = trace_of(facts)
    shown = TraceResponse(event=event_response(trace.event), entries=trace.entries)
    return json_response({"data": shown})


ROUTES = (
    get(
        "/events/{id}/trace",
        get_trace,
        name="getTrace",
        summary="Get the trace of an event",
        responses=(
            ok(
                "The event and everything that happened to it, in order, with reasons.",
                TraceResponse,
            ),
        ),
    ),
)
