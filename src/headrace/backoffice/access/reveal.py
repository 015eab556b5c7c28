"""Show personal data of a project unmasked for 15 minutes, on request; audited."""

from __future__ import annotations

from starlette.responses import Response

from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, post
from headrace.domain.access.sign_in import REVEAL_US


async def reveal(visit: PageRequest) -> Response:
    """Unmask for this session."""
    back = visit.safe_address(visit.form.text("back"))
    until_us = visit.now_us + REVEAL_US
    path = back.partition("?")[0]
    await visit.store.sign_in.reveal(visit.who, visit.project.id, until_us, visit.now_us, path)
    text = "Personal data of this project is shown for 15 minutes. This is recorded in the audit."
    return visit.go(back, text)


async def mask(visit: PageRequest) -> Response:
    """Mask again before the time is up."""
    back = visit.safe_address(visit.form.text("back"))
    await visit.store.sign_in.reveal(visit.who, visit.project.id, 0, visit.now_us, back)
    return visit.go(back)


SCREENS = (
    post("/projects/{project}/reveal", reveal, Access.OPERATOR),
    post("/projects/{project}/mask", mask, Access.VIEWER),
)
