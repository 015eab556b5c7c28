"""Accepted events as they happen: a page, and the stream of rows that its script shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from headrace.backoffice.events.search import EventSearch, read_search
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get
from headrace.backoffice.shell.stream_access import SessionFollower
from headrace.domain.deliveries.subscriptions import pattern_wants
from headrace.domain.events.event import DeliveryStatus, NewEvent, Status, StoredEvent
from headrace.pipeline.streams.streams import Stream, StreamRejectedError
from headrace.store.contract.events import EventFilter

#: Time without events after which a comment is sent, so that proxies keep the connection.
HEARTBEAT_SECONDS = 15.0


async def watch(visit: PageRequest) -> Response:
    """Show the page; without scripts it links to the list."""
    search = read_search(visit.query)
    fields = {name: search.typed[name] for name in ("event", "who", "source")}
    return visit.page(
        "live.html",
        422 if search.problems else 200,
        search=search,
        stream=visit.project_url("/events/live/stream", **fields),
    )


async def stream(visit: PageRequest) -> Response:
    """Stream table rows as server-sent events, rendered as in the list."""
    search = read_search(visit.query)
    if search.problems:
        raise HTTPException(400)
    follower = SessionFollower(visit)
    stream = _open_stream(visit, follower)

    async def messages() -> AsyncIterator[str]:
        following = asyncio.create_task(follower.run())
        try:
            yield "retry: 1000\n: connected\n\n"
            while (taken := await stream.next(HEARTBEAT_SECONDS)) is not None:
                events, missed = taken
                if missed:
                    yield f"event: missed\ndata: {missed}\n\n"
                visit.now_us = visit.backoffice.clock_us()
                rows = [_row(visit, event) for event in events if _matches(search, event)]
                yield "".join(rows) or ": still here\n\n"
            yield f"event: end\ndata: {stream.end_reason}\n\n"
        finally:
            following.cancel()
            stream.close()

    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(messages(), media_type="text/event-stream", headers=headers)


def _open_stream(visit: PageRequest, follower: SessionFollower) -> Stream:
    cut = visit.request.scope["state"]["cut"]
    try:
        return visit.backoffice.streams.open(visit.project.id, visit.actor, follower.confirmed, cut)
    except StreamRejectedError as error:
        raise HTTPException(429 if error.limit.is_own else 503) from None


def _matches(search: EventSearch, event: NewEvent) -> bool:
    wanted: EventFilter = search.wanted
    if wanted.event is not None and not pattern_wants(wanted.event, event.event):
        return False
    return all(
        expected is None or expected == found
        for expected, found in (
            (wanted.contact_id, event.contact_id),
            (wanted.external_id, event.external_id),
            (wanted.email, event.email),
            (wanted.source, event.source),
        )
    )


def _row(visit: PageRequest, event: NewEvent) -> str:
    values = msgspec.structs.asdict(event)
    del values["lane"], values["idempotency_hash"]
    stored = StoredEvent(
        **values, status=Status.ACCEPTED, resolved_contact_id=None, attempts=0, last_error=None
    )
    names = {status.value: status.name.lower() for status in Status}
    deliveries = {status.value: status.name.lower() for status in DeliveryStatus}
    html = visit.fragment(
        "event_rows.html", events=[stored], status_names=names, delivery_names=deliveries
    )
    # In this format each line break starts a field.
    data = "\ndata: ".join(html.splitlines())
    return f"event: row\ndata: {data}\n\n"


SCREENS = (
    get("/projects/{project}/events/live", watch, Access.VIEWER),
    get("/projects/{project}/events/live/stream", stream, Access.VIEWER),
)
