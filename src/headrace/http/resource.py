"""One path with several methods."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Handler = Callable[[Request], Awaitable[Response]]


def resource(path: str, **handlers: Handler) -> Route:
    """A route that hands each method to its handler.

    A route per method would do the same, but then a 405 names the methods of the first one only.

    Args:
        handlers: by method in lower case; `get` answers HEAD as well.
    """
    by_method = {name.upper(): handler for name, handler in handlers.items()}
    if "GET" in by_method:
        by_method["HEAD"] = by_method["GET"]

    async def dispatch(request: Request) -> Response:
        return await by_method[request.method](request)

    return Route(path, dispatch, methods=list(by_method))
