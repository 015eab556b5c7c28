"""`/backoffice`: redirect to the first page; and the theme."""

from __future__ import annotations

from starlette.responses import Response

from headrace.backoffice.shell.cookies import THEMES, write_theme
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get, post
from headrace.domain.ids import uuid_text


async def first_page(visit: PageRequest) -> Response:
    """Redirect to the only project's overview, else to the list of projects."""
    if len(visit.projects) == 1:
        return visit.go(visit.url(f"/projects/{uuid_text(visit.projects[0].uuid)}"))
    return visit.go(visit.url("/projects"))


async def set_theme(visit: PageRequest) -> Response:
    """Set the theme: light, dark, or that of the system."""
    response = visit.go(visit.safe_address(visit.form.text("back")))
    theme = visit.form.one_of("theme", THEMES) or "auto"
    write_theme(response, theme, secure=visit.backoffice.secure)
    return response


SCREENS = (
    get("", first_page, Access.SIGNED_IN),
    get("/", first_page, Access.SIGNED_IN),
    post("/theme", set_theme, Access.NOTHING),
)
