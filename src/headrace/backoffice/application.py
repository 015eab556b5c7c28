"""The Starlette application of the backoffice: screens, response headers and error pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route

from headrace.backoffice.screens import SCREENS
from headrace.backoffice.shell import content_policy, navigation
from headrace.backoffice.shell.context import PREFIX
from headrace.backoffice.shell.error_pages import failure_page
from headrace.backoffice.shell.passwords import TooManyAtOnceError
from headrace.backoffice.shell.screen import routes
from headrace.backoffice.shell.static import static_file
from headrace.store.contract.errors import StoreError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: On every response that does not set its own. `same-origin` and not `no-referrer`: with the
#: latter browsers send the backoffice's own forms with the origin `null`.
SECURITY_HEADERS = (
    (content_policy.HEADER.encode(), content_policy.PAGE.encode()),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=()"),
)


class _WithHeaders:
    """Adds the headers to every response, errors included."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in message["headers"]}
                added = [each for each in SECURITY_HEADERS if each[0] not in own]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def build_backoffice() -> _WithHeaders:
    """Create the application; it reads `Backoffice` from the request's state as `backoffice`."""
    navigation.offer({screen.path for screen in SCREENS if screen.method == "GET"})
    handled = (HTTPException, StoreError, TooManyAtOnceError, Exception)
    application = Starlette(
        routes=[
            Route(f"{PREFIX}/static/{{digest}}/{{name}}", static_file, methods=["GET"]),
            *routes(SCREENS),
        ],
        exception_handlers=dict.fromkeys(handled, failure_page),
    )
    # A redirect would repeat the host that the client claims.
    application.router.redirect_slashes = False
    return _WithHeaders(application)
