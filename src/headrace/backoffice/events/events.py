"""Events: search, or list the latest."""

from __future__ import annotations

from starlette.responses import Response

from headrace.backoffice.events.search import (
    DELIVERY_STATUSES,
    SOURCES,
    STATUSES,
    read_search,
    read_uuid,
)
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get
from headrace.domain.events.event import DeliveryStatus, Status
from headrace.domain.ids import uuid_text

ROWS = 50


async def list_events(visit: PageRequest) -> Response:
    """List the newest matches; an id or idempotency key redirects to its event."""
    find = visit.query.exact("find")
    if find:
        found = await _find(visit, find)
        if found is not None:
            return visit.go(visit.project_url(f"/events/{uuid_text(found)}"))
    search = read_search(visit.query)
    before = visit.query.number("before")
    events, following, unindexed = [], None, None
    if not search.problems:
        page = await visit.store.events.list(
            visit.project.id, search.wanted, before=before, limit=ROWS
        )
        events, following, unindexed = page.events, page.next_before, page.unindexed
    return visit.page(
        "events.html",
        422 if search.problems else 200,
        events=events,
        search=search,
        find=find,
        statuses=_choices(STATUSES),
        delivery_statuses=_choices(DELIVERY_STATUSES),
        sources=_choices(SOURCES),
        status_names={status.value: status.name.lower() for status in Status},
        delivery_names={status.value: status.name.lower() for status in DeliveryStatus},
        next_before=following,
        live_url=visit.project_url(
            "/events/live",
            **{name: search.typed[name] for name in ("event", "who", "source")},
        ),
        unindexed=unindexed,
    )


def _choices(names: tuple[str, ...]) -> list[tuple[str, str]]:
    return [("", "Any"), *((name, name.replace("_", " ")) for name in names)]


async def _find(visit: PageRequest, text: str) -> bytes | None:
    """Id of the event with that id or idempotency key."""
    events, project_id = visit.store.events, visit.project.id
    event_id = read_uuid(text.strip())
    if event_id is not None:
        found = await events.get(project_id, event_id)
        if found is not None:
            return found.id
    by_key = await events.get_by_key(project_id, text)
    return None if by_key is None else by_key.id


SCREENS = (get("/projects/{project}/events", list_events, Access.VIEWER),)
