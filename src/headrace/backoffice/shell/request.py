"""One request of a person: identity, permissions and response."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from headrace.backoffice.shell.context import PREFIX, Backoffice
from headrace.backoffice.shell.cookies import (
    Flash,
    drop_flash,
    read_flash,
    read_theme,
    write_flash,
)
from headrace.backoffice.shell.forms import Fields, read_query
from headrace.backoffice.shell.navigation import links_for
from headrace.backoffice.shell.origin import csrf_token
from headrace.backoffice.shell.templating import render
from headrace.domain.access.sign_in import Role, SignedIn
from headrace.domain.ids import uuid_text
from headrace.store.contract.access import Project
from headrace.store.store import Store


class PageRequest:
    """The argument of a view. Views of a project may use `project` and `role` without a check."""

    def __init__(self, request: Request, backoffice: Backoffice) -> None:
        self.request = request
        self.backoffice = backoffice
        self.now_us = backoffice.clock_us()
        self.query = read_query(request)
        #: Of the posted form; empty for a GET.
        self.form = Fields([])
        self.session_token = ""
        self.signed_in: SignedIn | None = None
        #: Projects this person may see, by name.
        self.projects: Sequence[Project] = ()
        #: Open alerts of the project and the instance.
        self.alerts_open = 0
        self._unique = 0
        self._project: Project | None = None
        self._role: Role | None = None

    @property
    def store(self) -> Store:
        return self.backoffice.store

    @property
    def who(self) -> SignedIn:
        """The signed-in person; only for screens that require one."""
        assert self.signed_in is not None, "a public screen asks who it is"
        return self.signed_in

    @property
    def actor(self) -> str:
        """The person's name in the audit log."""
        return self.who.actor

    def enter(self, project: Project, role: Role) -> None:
        """Set the project of the path and the person's role in it."""
        self._project = project
        self._role = role

    def renew(self, signed_in: SignedIn | None) -> None:
        """Update the person and the role in the project from the store."""
        self.signed_in = signed_in
        self._role = None if signed_in is None else signed_in.role_in(self.project.id)

    @property
    def project(self) -> Project:
        """The project of the path."""
        assert self._project is not None, "this path names no project"
        return self._project

    def may(self, role: Role | str) -> bool:
        """Whether the person has this role in the path's project; templates pass its name."""
        return self._role is not None and self._role.includes(Role(role))

    @property
    def shows_personal_data(self) -> bool:
        """Whether this session currently sees this project's personal data unmasked."""
        if self.signed_in is None or self._project is None:
            return False
        session = self.signed_in.session
        return (
            # A withdrawn role hides personal data again.
            self.may(Role.OPERATOR)
            and session.revealed_project_id == self._project.id
            and session.revealed_until_us > self.now_us
        )

    @property
    def path(self) -> str:
        """Path of the request, without the query."""
        return str(self.request.url.path)

    @property
    def here(self) -> str:
        """Path and query, to return to."""
        query = self.request.scope["query_string"].decode("ascii", "ignore")
        path = quote(self.path, safe="/-._~")
        return f"{path}?{query}" if query else path

    def url(self, path: str, **query: Any) -> str:
        """Address of a backoffice page: `/projects`, with the query fields that are set."""
        fields = {name: value for name, value in query.items() if value not in (None, "")}
        return f"{PREFIX}{path}" + (f"?{urlencode(fields)}" if fields else "")

    def absolute_url(self, path: str) -> str:
        """An absolute address to hand out: on the public address, else on that of the request."""
        host = self.request.headers.get("host", "")
        origin = self.backoffice.public_origin or f"http://{host}"
        return origin + self.url(path)

    def project_url(self, path: str = "", **query: Any) -> str:
        """Address of a page of the path's project: `/events`."""
        return self.url(f"/projects/{uuid_text(self.project.uuid)}{path}", **query)

    def same_page(self, **query: Any) -> str:
        """This page with some query fields changed; None or empty drops one."""
        fields = dict(self.query.pairs()) | query
        kept = {name: value for name, value in fields.items() if value not in (None, "")}
        return self.path + (f"?{urlencode(kept)}" if kept else "")

    def page(self, template: str, status: int = 200, /, **context: Any) -> Response:
        """Render a page."""
        secure = self.backoffice.secure
        flash = read_flash(self.request, secure=secure)
        response = HTMLResponse(self.fragment(template, flash=flash, **context), status)
        if flash is not None:
            drop_flash(response, secure=secure)
        return response

    def unique_id(self, name: str) -> str:
        """An id that is unique on the page."""
        self._unique += 1
        return f"{name}-{self._unique}"

    def fragment(self, template: str, **context: Any) -> str:
        """Render a template, for a page or for a fragment sent separately."""
        return render(template, self._context() | context)

    def _context(self) -> dict[str, Any]:
        project = self._project
        return {
            "visit": self,
            "signed_in": self.signed_in,
            "project": project,
            "csrf": csrf_token(self.session_token) if self.session_token else "",
            "theme": read_theme(self.request, secure=self.backoffice.secure),
            "links": links_for(self.path, project),
            "flash": None,
            "now_us": self.now_us,
            "request_id": self.request.scope["state"]["request_id"],
        }

    def go(self, address: str, text: str = "", *, kind: str = "good") -> Response:
        """Redirect to another page after a change, with a message that it shows once.

        Args:
            address: as `url` or `project_url` makes it.
            kind: of the message, `good` or `bad`.
        """
        response = RedirectResponse(address, 303)
        if text:
            write_flash(response, Flash(text, kind), secure=self.backoffice.secure)
        return response

    def safe_address(self, address: str) -> str:
        """An address from a form or link, if it is a backoffice page; else the first page."""
        ours = address == PREFIX or address.startswith((f"{PREFIX}/", f"{PREFIX}?"))
        clean = address.isascii() and address.isprintable() and "\\" not in address
        return address if ours and clean and "//" not in address else PREFIX
