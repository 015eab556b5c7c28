"""Recent rejections and their reasons; of bodies only the shape is shown."""

from __future__ import annotations

from starlette.responses import Response

from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get

ROWS = 50


async def list_rejections(visit: PageRequest) -> Response:
    """List rejections, newest first."""
    before = visit.query.number("before")
    found = await visit.store.rejections.list(visit.project.id, before=before, limit=ROWS + 1)
    rows = found[:ROWS]
    return visit.page(
        "rejections.html",
        rows=rows,
        next_before=rows[-1].id if len(found) > ROWS else None,
    )


SCREENS = (get("/projects/{project}/rejections", list_rejections, Access.VIEWER),)
