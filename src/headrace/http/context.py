"""What handlers of the slower routes are given, and how they answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.http.cursor import Cursors
from headrace.pipeline.accept import Acceptor
from headrace.pipeline.access import AccessCache, Principal
from headrace.pipeline.streams import Streams
from headrace.pipeline.webhooks import Webhooks
from headrace.store.contract_store import Store


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of the process that a handler may use."""

    store: Store
    acceptor: Acceptor
    access: AccessCache
    streams: Streams
    cursors: Cursors
    webhooks: Webhooks
    clock_us: Callable[[], int]
    #: What keeps the worker beside this server from working, None for nothing; without one, None.
    worker_problem: Callable[[], str | None] | None = None
    #: Set when the process is about to stop.
    stopping: asyncio.Event


class Context(msgspec.Struct, frozen=True):
    """One request's view of it."""

    services: Services
    principal: Principal


def context_of(request: Request) -> Context:
    """Services and verified key of a request."""
    state = request.scope["state"]
    return Context(state["services"], state["principal"])


def json_response(value: Any, status: int = 200) -> Response:
    """Answer with JSON, encoded from the types that describe the API."""
    headers = {"cache-control": "no-store"}
    return Response(msgspec.json.encode(value), status, headers, "application/json")
