"""Pages for what went wrong: what happened, and what to do about it."""

from __future__ import annotations

import contextlib

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from headrace.backoffice.shell.passwords import TooManyAtOnceError
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import recognise
from headrace.store.contract.errors import StoreBusyError, StoreError


class Failure(msgspec.Struct, frozen=True):
    """What the page says."""

    status: int
    title: str
    happened: str
    advice: str


_BUSY = Failure(
    503,
    "Too busy right now",
    "The server has more to look up than it can at once.",
    "Wait a few seconds and reload.",
)
_BY_STATUS = {
    400: Failure(
        400,
        "This address cannot be read",
        "A part of it is not encoded as addresses are.",
        "Go back and use the links and forms of the page.",
    ),
    404: Failure(
        404,
        "There is nothing here",
        "The page or object does not exist, was removed, or belongs to a project you are not a "
        "member of.",
        "Check the address, or start from your projects.",
    ),
    405: Failure(
        405,
        "This page cannot do that",
        "The address takes another kind of request.",
        "Go back and use the links and forms of the page.",
    ),
    413: Failure(
        413,
        "That was too much at once",
        "The form is larger than 64 KiB.",
        "Go back and send less.",
    ),
    415: Failure(
        415,
        "The form cannot be read",
        "It was not sent as forms of these pages are.",
        "Go back and send the form of the page again.",
    ),
    429: Failure(
        429,
        "Too many live pages are open",
        "You or this project have as many open as are allowed at once.",
        "Close one of them and reload.",
    ),
    503: _BUSY,
}
_FORBIDDEN = {
    "role": Failure(
        403,
        "Your role does not allow this",
        "You are a member of this project, but this needs a higher role.",
        "Ask an owner of the project to do it or to change your role under Members.",
    ),
    "csrf": Failure(
        403,
        "This form is out of date",
        "It was opened before you signed in, or in another session.",
        "Go back, reload the page and send the form again. Nothing was changed.",
    ),
    "cross-site": Failure(
        403,
        "This did not come from the backoffice",
        "Changes are only taken from pages of this server.",
        "Open the page here and do it again. If a proxy in front changes the host name, set "
        "HEADRACE_PUBLIC_URL. Nothing was changed.",
    ),
}
_STORE = Failure(
    503,
    "The store cannot do this now",
    "It is read-only, full or away; what was accepted is safe.",
    "Reload in a minute. If it stays, run headrace doctor on the server.",
)
_OURS = Failure(
    500,
    "Something went wrong on our side",
    "The log of the server tells more by the request id below.",
    "Try again; if it happens again, report it with the request id.",
)


async def failure_page(request: Request, error: Exception) -> Response:
    """The one place where a failure becomes a page."""
    failure = _failure(error)
    state = request.scope["state"]
    visit = state.get("visit")
    if visit is None:
        try:
            visit = PageRequest(request, state["backoffice"])
        except HTTPException:
            request.scope["query_string"] = b""
            visit = PageRequest(request, state["backoffice"])
        # A path that leads nowhere has no screen that would have looked who is signed in.
        with contextlib.suppress(StoreError):
            await recognise(visit)
    response: Response = visit.page("failure.html", failure.status, failure=failure)
    if isinstance(error, HTTPException) and error.headers and "Allow" in error.headers:
        response.headers["Allow"] = ", ".join(sorted(error.headers["Allow"].split(", ")))
    if failure.status in (429, 503):
        response.headers["Retry-After"] = "5"
    return response


def _failure(error: Exception) -> Failure:
    if isinstance(error, HTTPException):
        if error.status_code == 403:
            return _FORBIDDEN.get(error.detail, _FORBIDDEN["role"])
        return _BY_STATUS.get(error.status_code, _BY_STATUS[404])
    if isinstance(error, StoreBusyError | TooManyAtOnceError):
        return _BUSY
    return _STORE if isinstance(error, StoreError) else _OURS
