"""What handlers of routes that are not hot get, and how they respond."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.http.routing.cursor import Cursors
from headrace.http.routing.parameters import LIMIT_DEFAULT
from headrace.pipeline.access.keys import AccessCache, Principal
from headrace.pipeline.delivering.webhooks import Webhooks
from headrace.pipeline.intake.accept import Acceptor
from headrace.pipeline.messages.mail_services import MailServices
from headrace.pipeline.push.clients import PushClients
from headrace.pipeline.push.push_apps import PushAppSetup
from headrace.pipeline.push.sending import PushSending
from headrace.pipeline.streams.streams import Streams
from headrace.store.store import Store


class DocsPage(Protocol):
    """The description of the API as a page."""

    @property
    def html(self) -> str: ...

    @property
    def policy(self) -> str:
        """Its Content-Security-Policy."""
        ...


class ApiDescription(Protocol):
    """The description of this server's API."""

    @property
    def text(self) -> bytes:
        """The OpenAPI document, as JSON."""
        ...

    @property
    def page(self) -> DocsPage:
        """The document as a page."""
        ...


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of the process that a handler may use."""

    store: Store
    acceptor: Acceptor
    access: AccessCache
    streams: Streams
    cursors: Cursors
    webhooks: Webhooks
    mail: MailServices
    push: PushClients
    push_apps: PushAppSetup
    push_sending: PushSending
    document: ApiDescription
    clock_us: Callable[[], int]
    #: Public address of the server; empty: unknown.
    public_url: str = ""
    #: Client address of a request, behind trusted proxies; empty: unknown.
    client_address: Callable[[Request], str]
    #: What keeps the worker from working, None for nothing; None without a worker.
    worker_problem: Callable[[], str | None] | None = None
    #: Set when the process is about to stop.
    stopping: asyncio.Event


class Context(msgspec.Struct, frozen=True):
    """The services as one request sees them."""

    services: Services
    principal: Principal
    #: Checked parameters of the query, as the route declares them.
    query: dict[str, Any] = {}

    @property
    def project_id(self) -> int:
        return self.principal.project.id

    @property
    def limit(self) -> int:
        """Items of the requested page."""
        limit: int = self.query.get("limit", LIMIT_DEFAULT)
        return limit

    def before(self, scope: str) -> int | None:
        """Position at which a page begins, None for the first one.

        Raises:
            ApiError: 422 when the cursor was not made for the list named by `scope`.
        """
        cursor = self.query.get("cursor")
        return None if cursor is None else self.services.cursors.read(cursor, scope)


def context_of(request: Request) -> Context:
    """Services, verified key and checked query of a request."""
    state = request.scope["state"]
    return Context(state["services"], state["principal"], state["query"])


def json_response(value: Any, status: int = 200) -> Response:
    """Respond with JSON, encoded from the types that describe the API."""
    headers = {"cache-control": "no-store"}
    return Response(msgspec.json.encode(value), status, headers, "application/json")
