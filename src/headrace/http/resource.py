"""One path with several methods."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")

Handler = Callable[[Request], Awaitable[Response]]


def resource(path: str, **handlers: Handler) -> Route:
    """A route that hands each method to its handler.

    A route per method would do the same, but then a 405 names the methods of the first one only.

    Args:
        handlers: by method in lower case; `get` answers HEAD as well.
    """
    by_method = _by_method(handlers)

    async def dispatch(request: Request) -> Response:
        return await by_method[request.method](request)

    return Route(path, dispatch, methods=list(by_method))


def fixed(path: str, **handlers: Handler) -> Route:
    """A path that would else be read as an id of something.

    It stands before that route and takes every method, so that one without a handler is a 405 here
    and no look-up there.
    """
    by_method = _by_method(handlers)

    async def dispatch(request: Request) -> Response:
        handler = by_method.get(request.method)
        if handler is None:
            raise HTTPException(405, headers={"Allow": ", ".join(sorted(by_method))})
        return await handler(request)

    return Route(path, dispatch, methods=_METHODS)


def _by_method(handlers: dict[str, Handler]) -> dict[str, Handler]:
    by_method = {name.upper(): handler for name, handler in handlers.items()}
    if "GET" in by_method:
        by_method["HEAD"] = by_method["GET"]
    return by_method
