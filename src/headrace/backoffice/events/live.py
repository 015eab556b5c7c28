"""Events as they happen: a page, and the stream of rows that its script shows.

1. The newest events that match are sent first, so the page is never empty; after a lost connection
   they fill the gap.
2. Each accepted event that matches is sent as a row.
3. Events that may still change are read again while they are among the newest, and a row that has
   changed is sent again: the script replaces it in place.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from headrace.backoffice.events.search import EventSearch, read_search
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get
from headrace.backoffice.shell.stream_access import SessionFollower
from headrace.domain.deliveries.subscriptions import pattern_wants
from headrace.domain.events.event import DeliveryStatus, NewEvent, Source, Status, StoredEvent
from headrace.pipeline.streams.streams import Stream, StreamRejectedError
from headrace.store.contract.errors import StoreError
from headrace.store.contract.events import EventFilter

#: Time without events after which a comment is sent, so that proxies keep the connection.
HEARTBEAT_SECONDS = 15.0
#: Events shown from the start.
ROWS = 50
#: Newest events that are read again while they may still change.
FOLLOWED_MAX = 100
#: How often; the pause doubles up to the maximum while nothing changes.
FOLLOW_SECONDS_MIN, FOLLOW_SECONDS_MAX = 0.5, 8.0

_FIELDS = ("event", "who", "source")
_STATUS_NAMES = {status.value: status.name.lower() for status in Status}
_DELIVERY_NAMES = {status.value: status.name.lower() for status in DeliveryStatus}
#: An event that is processed changes no more; deliveries in these states do not, either, unless
#: somebody replays them.
_SETTLED = frozenset({DeliveryStatus.NONE, DeliveryStatus.DELIVERED, DeliveryStatus.FAILED})


async def watch(visit: PageRequest) -> Response:
    """Show the page with the newest events; without scripts it links to the list."""
    search = read_search(visit.query)
    fields = {name: search.typed[name] for name in _FIELDS}
    return visit.page(
        "live.html",
        422 if search.problems else 200,
        search=search,
        events=[] if search.problems else await _newest(visit, search),
        status_names=_STATUS_NAMES,
        delivery_names=_DELIVERY_NAMES,
        # An invalid filter is explained beside its field; there is nothing to stream.
        stream="" if search.problems else visit.project_url("/events/live/stream", **fields),
        list_url=visit.project_url("/events", **fields),
    )


async def _newest(visit: PageRequest, search: EventSearch) -> list[StoredEvent]:
    page = await visit.store.events.list(
        visit.project.id, search.wanted, before=None, limit=2 * ROWS
    )
    # System events follow most events and are not streamed: shown only to who asks for them.
    asked = search.typed["event"] or search.typed["source"]
    return [each for each in page.events if asked or each.source != Source.SYSTEM][:ROWS]


class _Rows:
    """What the page shows of the newest events."""

    def __init__(self, visit: PageRequest) -> None:
        self._visit = visit
        #: Event id -> status and delivery status as sent last, of those that may still change.
        self._open: dict[bytes, tuple[int, int]] = {}
        self._pause_s = FOLLOW_SECONDS_MIN

    @property
    def wait_s(self) -> float:
        """Time until `changed` should be called, or the connection be kept."""
        return self._pause_s if self._open else HEARTBEAT_SECONDS

    def text(self, events: Iterable[StoredEvent]) -> str:
        """Messages with the rows of events, oldest first."""
        return "".join(self._row(event) for event in events)

    async def changed(self) -> str:
        """Messages with the rows that have changed since they were sent."""
        if not self._open:
            return ""
        visit = self._visit
        found = await visit.store.events.get_all(visit.project.id, list(self._open))
        changed = [event for event in found if self._open[event.id] != _state_of(event)]
        # Removed ones no longer change.
        for event_id in self._open.keys() - {event.id for event in found}:
            del self._open[event_id]
        self._pause_s = min(2 * self._pause_s, FOLLOW_SECONDS_MAX)
        return self.text(changed)

    def _row(self, event: StoredEvent) -> str:
        self._pause_s = FOLLOW_SECONDS_MIN
        self._open.pop(event.id, None)
        if event.status != Status.PROCESSED or event.delivery_status not in _SETTLED:
            self._open[event.id] = _state_of(event)
            if len(self._open) > FOLLOWED_MAX:
                del self._open[next(iter(self._open))]
        html = self._visit.fragment(
            "event_rows.html",
            events=[event],
            status_names=_STATUS_NAMES,
            delivery_names=_DELIVERY_NAMES,
        )
        # In this format each line break starts a field.
        data = "\ndata: ".join(html.strip().splitlines())
        return f"event: row\ndata: {data}\n\n"


def _state_of(event: StoredEvent) -> tuple[int, int]:
    return event.status, event.delivery_status


async def stream(visit: PageRequest) -> Response:
    """Stream table rows as server-sent events, rendered as in the list."""
    search = read_search(visit.query)
    if search.problems:
        raise HTTPException(400)
    follower = SessionFollower(visit)
    stream = _open_stream(visit, follower)

    async def messages() -> AsyncIterator[str]:
        following = asyncio.create_task(follower.run())
        rows = _Rows(visit)
        try:
            yield "retry: 1000\n: connected\n\n"
            if first := rows.text(reversed(await _newest(visit, search))):
                yield first
            quiet_s, wait_s = 0.0, rows.wait_s
            while (taken := await stream.next(wait_s)) is not None:
                visit.now_us = visit.backoffice.clock_us()
                text = await _text_of(rows, search, *taken)
                quiet_s = 0.0 if text else quiet_s + wait_s
                if text or quiet_s >= HEARTBEAT_SECONDS:
                    quiet_s = 0.0
                    yield text or ": still here\n\n"
                wait_s = rows.wait_s
            yield f"event: end\ndata: {stream.end_reason}\n\n"
        finally:
            following.cancel()
            stream.close()

    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(messages(), media_type="text/event-stream", headers=headers)


async def _text_of(rows: _Rows, search: EventSearch, events: list[NewEvent], missed: int) -> str:
    """Messages about events that were accepted, and about those that have changed."""
    text = f"event: missed\ndata: {missed}\n\n" if missed else ""
    text += rows.text(_stored(event) for event in events if _matches(search, event))
    try:
        return text + await rows.changed()
    except StoreError:
        # Read again with the next ones; whether the stream may go on is decided elsewhere.
        return text


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


def _stored(event: NewEvent) -> StoredEvent:
    values = msgspec.structs.asdict(event)
    del values["lane"], values["idempotency_hash"]
    return StoredEvent(
        **values, status=Status.ACCEPTED, resolved_contact_id=None, attempts=0, last_error=None
    )


SCREENS = (
    get("/projects/{project}/events/live", watch, Access.VIEWER),
    get("/projects/{project}/events/live/stream", stream, Access.VIEWER),
)
