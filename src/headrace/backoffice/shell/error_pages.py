"""Error pages: what happened, and what to do about it."""

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
    """Contents of an error page."""

    status: int
    title: str
    happened: str
    advice: str


_BUSY = Failure(
    503,
    "The server is busy",
    "The server is handling as many queries as it can.",
    "Wait a few seconds and reload.",
)
_BY_STATUS = {
    400: Failure(
        400,
        "This address cannot be read",
        "Part of it is not encoded correctly.",
        "Go back and use the links and forms of the page.",
    ),
    404: Failure(
        404,
        "Page not found",
        "The page or object does not exist, was removed, or belongs to a project you are not a "
        "member of.",
        "Check the address, or start from your projects.",
    ),
    405: Failure(
        405,
        "Method not allowed",
        "This address does not accept this kind of request.",
        "Go back and use the links and forms of the page.",
    ),
    413: Failure(
        413,
        "The form is too large",
        "The form is larger than 64 KiB.",
        "Go back and send less.",
    ),
    415: Failure(
        415,
        "The form cannot be read",
        "It was not sent in the format of these pages.",
        "Go back and send the form of the page again.",
    ),
    429: Failure(
        429,
        "Too many live pages are open",
        "You or this project have reached the maximum number of open live pages.",
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
        "It was opened before you signed in or in another session.",
        "Go back, reload the page and send the form again. Nothing was changed.",
    ),
    "cross-site": Failure(
        403,
        "This request did not come from the backoffice",
        "Changes are only accepted from pages of this server.",
        "Open the page here and do it again. If a proxy in front changes the host name, set "
        "HEADRACE_PUBLIC_URL. Nothing was changed.",
    ),
}
_STORE = Failure(
    503,
    "The store is unavailable",
    "It is read-only, full or not reachable. Accepted events are safe.",
    "Reload in a minute. If the problem remains, run headrace doctor on the server.",
)
_OURS = Failure(
    500,
    "Internal error",
    "Find the details in the server log by the request id below.",
    "Try again. If it happens again, report it with the request id.",
)


async def failure_page(request: Request, error: Exception) -> Response:
    """The one place where an exception becomes a page."""
    failure = _failure(error)
    state = request.scope["state"]
    visit = state.get("visit")
    if visit is None:
        try:
            visit = PageRequest(request, state["backoffice"])
        except HTTPException:
            request.scope["query_string"] = b""
            visit = PageRequest(request, state["backoffice"])
        # An unknown path has no screen that would have identified the person.
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
