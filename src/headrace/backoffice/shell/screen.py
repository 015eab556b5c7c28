"""Screens: a path, its required access and its views. Every route declares who may use it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from headrace.backoffice.shell.context import PREFIX, Backoffice
from headrace.backoffice.shell.cookies import read_session
from headrace.backoffice.shell.forms import read_form
from headrace.backoffice.shell.origin import csrf_matches, is_our_own
from headrace.backoffice.shell.request import PageRequest
from headrace.domain.access.sign_in import SEEN_US, Role, token_hash
from headrace.domain.ids import uuid_text
from headrace.store.contract.errors import StoreError

View = Callable[[PageRequest], Awaitable[Response]]


class Access(Enum):
    """Who may use a screen."""

    #: Everyone, without a session.
    NOTHING = "nothing"
    #: Anyone signed in.
    SIGNED_IN = "signed_in"
    #: A role in the path's project.
    VIEWER = "viewer"
    OPERATOR = "operator"
    OWNER = "owner"
    #: Owner of the whole instance.
    INSTANCE = "instance"

    @property
    def role(self) -> Role | None:
        """The role in a project, None when the screen is not about one."""
        return Role(self.value) if self in _OF_PROJECT else None


_OF_PROJECT = frozenset({Access.VIEWER, Access.OPERATOR, Access.OWNER})


class Screen(msgspec.Struct, frozen=True):
    """One method of one path; made by `get` and `post`."""

    method: str
    path: str
    access: Access
    view: View


def get(path: str, view: View, access: Access) -> Screen:
    """A page or fragment: a GET that changes nothing."""
    return _screen("GET", path, access, view)


def post(path: str, view: View, access: Access) -> Screen:
    """A change: a POST from one of the backoffice's pages, with the session's form token."""
    return _screen("POST", path, access, view)


def _screen(method: str, path: str, access: Access, view: View) -> Screen:
    if (access in _OF_PROJECT) != path.startswith("/projects/{project}"):
        message = f"{method} {path}: a role in a project and a path below it go together"
        raise ValueError(message)
    return Screen(method, path, access, view)


def routes(screens: tuple[Screen, ...]) -> list[Route]:
    """Starlette routes, each behind its guard; one for each path."""
    by_path: dict[str, dict[str, Screen]] = {}
    for screen in screens:
        methods = by_path.setdefault(screen.path, {})
        if screen.method in methods:
            message = f"{screen.method} {screen.path} occurs twice"
            raise ValueError(message)
        methods[screen.method] = screen
    return [
        Route(PREFIX + path, _endpoint(methods), methods=sorted(methods))
        for path, methods in by_path.items()
    ]


def _endpoint(methods: dict[str, Screen]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await _guarded(request, methods[method])

    return endpoint


async def _guarded(request: Request, screen: Screen) -> Response:
    """Let a request through to its view, or reject it.

    1. a change comes from one of the backoffice's pages; 2. there is a session and its operator is
    not revoked; 3. a change carries the session's token; 4. the person has the role in the project.
    The response for a project of others is the same as for an absent one.
    """
    backoffice: Backoffice = request.scope["state"]["backoffice"]
    visit = PageRequest(request, backoffice)
    request.scope["state"]["visit"] = visit
    changes = screen.method != "GET"
    if changes and not is_our_own(request, backoffice):
        raise HTTPException(403, "cross-site")
    await recognise(visit)
    if changes:
        visit.form = await read_form(request)
    if screen.access is Access.NOTHING:
        return await screen.view(visit)
    if visit.signed_in is None:
        back = visit.here if screen.method == "GET" else ""
        return RedirectResponse(visit.url("/sign-in", next=back), 303)
    if changes and not csrf_matches(visit.session_token, visit.form.text("csrf")):
        raise HTTPException(403, "csrf")
    if screen.access is Access.INSTANCE and not visit.who.is_owner:
        raise HTTPException(403, "role")
    if screen.access.role is not None:
        _enter(visit, screen.access.role)
        if not changes:
            await _count_alerts(visit)
    return await screen.view(visit)


async def recognise(visit: PageRequest) -> None:
    """Identify the signed-in person, if any, and the projects they may see.

    Raises:
        StoreError: the store cannot be read.
    """
    token = read_session(visit.request, secure=visit.backoffice.secure)
    if not token:
        return
    hashed = token_hash(token)
    store = visit.store
    visit.signed_in = await store.sign_in.signed_in(hashed, visit.now_us)
    if visit.signed_in is None:
        return
    visit.session_token = token
    who = visit.signed_in
    visit.projects = [p for p in await store.projects.list() if who.role_in(p.id) is not None]
    if visit.now_us - who.session.seen_us >= SEEN_US:
        try:
            await store.sign_in.seen(hashed, visit.now_us)
        except StoreError:
            # A full disk must not keep people from finding out why it is full.
            return


async def _count_alerts(visit: PageRequest) -> None:
    """Count open alerts, for the banner of the page."""
    try:
        visit.alerts_open = await visit.store.alerts.count_open(visit.project.id)
    except StoreError:
        # The page itself says what is wrong with the store.
        return


def _enter(visit: PageRequest, needed: Role) -> None:
    wanted = visit.request.path_params["project"]
    for project in visit.projects:
        if uuid_text(project.uuid) == wanted:
            role = visit.who.role_in(project.id)
            assert role is not None
            visit.enter(project, role)
            if not role.includes(needed):
                raise HTTPException(403, "role")
            return
    raise HTTPException(404)
