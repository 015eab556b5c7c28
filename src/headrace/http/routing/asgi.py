"""Runs an ASGI application on the server's connections, for every route that is not hot."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import structlog

from headrace.domain.errors import ApiError, ErrorCode
from headrace.http.routing.route import LIMITS, Route
from headrace.http.server.exchange import Exchange
from headrace.http.server.head import Head, decode_path
from headrace.http.server.wire import CLOCK, header_lines, status_line
from headrace.observability.events import REQUEST_FAILED

Message = MutableMapping[str, Any]
App = Callable[
    [
        MutableMapping[str, Any],
        Callable[[], Awaitable[Message]],
        Callable[[Message], Awaitable[None]],
    ],
    Awaitable[None],
]

#: Limit of concurrent tasks of slow routes; past it, requests get 503.
TASKS_MAX = 500
WENT_WRONG = "Internal error. Find the details in the server log by the request id."

_log = structlog.get_logger()


class AsgiRunner:
    """Starts a task per request and tracks those in progress."""

    def __init__(self, app: App, state: dict[str, Any]) -> None:
        self.app = app
        self.state = state
        self.tasks: set[asyncio.Task[None]] = set()
        #: Of these, tasks of routes with a limit of their own, by the route's identity.
        self._limited: dict[int, set[asyncio.Task[None]]] = {}

    def plan(
        self,
        head: Head,
        principal: Any,
        authorize: Callable[[], object] | None = None,
        route: Route | None = None,
        values: Mapping[str, str] | None = None,
    ) -> AsgiHandler:
        """Decide how a request for the application is handled.

        Args:
            authorize: raises `ApiError` when `principal` is no longer allowed. Called when the
                request starts: behind a slow response, that is long after its head was read.
            route: from the table, None for an application with its own routes.
            values: of the parameters in the path.

        Raises:
            ApiError: 503 when too many are in progress.
        """
        if len(self.tasks) >= TASKS_MAX:
            raise _overloaded()
        return AsgiHandler(self, head, principal, authorize, route, values or {})

    def has_room(self, route: Route | None) -> bool:
        """Whether one more request of a route may start now."""
        if route is None or route.limits.concurrent_max is None:
            return True
        return len(self._limited.get(id(route), ())) < route.limits.concurrent_max

    def count(self, route: Route | None, task: asyncio.Task[None]) -> None:
        """Count a task of a route with a limit until it ends."""
        if route is not None and route.limits.concurrent_max is not None:
            tasks = self._limited.setdefault(id(route), set())
            tasks.add(task)
            task.add_done_callback(tasks.discard)


def _overloaded() -> ApiError:
    message = "Too many requests are in progress."
    return ApiError(ErrorCode.OVERLOADED, message, retry_after_s=1)


class AsgiHandler:
    """One request for the application."""

    __slots__ = ("authorize", "body_bytes_max", "head", "principal", "route", "runner", "values")

    def __init__(
        self,
        runner: AsgiRunner,
        head: Head,
        principal: Any,
        authorize: Callable[[], object] | None,
        route: Route | None,
        values: Mapping[str, str],
    ) -> None:
        limits = LIMITS if route is None else route.limits
        self.body_bytes_max = limits.body_bytes_max
        self.route = route
        self.values = values
        self.runner = runner
        self.head = head
        self.principal = principal
        self.authorize = authorize

    def run(self, exchange: Exchange, body: bytes) -> None:
        """Start the application's task when all earlier responses are written."""
        exchange.connection.when_first(exchange, lambda: self._start(exchange, body))

    def _start(self, exchange: Exchange, body: bytes) -> None:
        runner = self.runner
        if len(runner.tasks) >= TASKS_MAX or not runner.has_room(self.route):
            exchange.fail(_overloaded())
            return
        task = asyncio.get_running_loop().create_task(self._serve(exchange, body))
        runner.tasks.add(task)
        task.add_done_callback(runner.tasks.discard)
        runner.count(self.route, task)

    async def _serve(self, exchange: Exchange, body: bytes) -> None:
        cycle = _Cycle(exchange, body)
        connection = exchange.connection
        lost = connection.on_lost = cycle.lost.set
        # Backpressure: start only when the client has drained the responses before.
        await connection.writable()
        try:
            if connection.transport.is_closing():
                return
            if self.authorize is not None:
                self.authorize()
            await self.runner.app(self._scope(exchange), cycle.receive, cycle.send)
        except ApiError as error:
            exchange.fail(error)
        except Exception as error:  # noqa: BLE001 - logged; other requests must not suffer
            request_id = exchange.request_id.decode()
            _log.exception(REQUEST_FAILED, error=type(error).__name__, request_id=request_id)
            if not cycle.started:
                exchange.fail(ApiError(ErrorCode.INTERNAL, WENT_WRONG))
            elif not cycle.finished:
                connection.transport.abort()
        finally:
            if connection.on_lost == lost:
                connection.on_lost = None

    def _scope(self, exchange: Exchange) -> dict[str, Any]:
        head = self.head
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": head.method.decode("ascii"),
            "scheme": "http",
            "path": decode_path(head.path),
            "raw_path": head.path,
            "query_string": head.query_string,
            "root_path": "",
            "headers": list(head.headers.items()),
            "client": (exchange.connection.peer, 0),
            "server": None,
            "path_params": self.values,
            "state": {
                **self.runner.state,
                "route": self.route,
                "principal": self.principal,
                "request_id": exchange.request_id.decode(),
                "head": head,
                #: Closes the connection at once, whatever is still to be sent.
                "cut": exchange.connection.transport.abort,
            },
        }


class _Cycle:
    """The two channels between the application and one exchange."""

    def __init__(self, exchange: Exchange, body: bytes) -> None:
        self.lost = asyncio.Event()
        self.started = False
        self.finished = False
        self._exchange = exchange
        self._body: bytes | None = body
        self._status = 200
        self._headers = b""
        self._streaming = False
        self._parts: list[bytes] = []

    async def receive(self) -> Message:
        """The whole body at once, then `http.disconnect` when the client is gone."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.lost.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Write a response: at once when it is complete, in chunks when it comes in parts."""
        if message["type"] == "http.response.start":
            self.started = True
            self._status = message["status"]
            self._headers = _header_lines(message.get("headers", ()))
            if b"cache-control:" not in self._headers.lower():
                self._headers += b"cache-control: no-store\r\n"
            return
        body: bytes = message.get("body", b"")
        self.finished = not message.get("more_body", False)
        if not self._streaming and not message.get("more_body", False):
            self._exchange.connection.finish(self._exchange, self._whole(body))
            return
        await self._write_part(body, last=not message.get("more_body", False))

    def _whole(self, body: bytes) -> bytes:
        exchange = self._exchange
        length = b""
        if b"content-length" not in self._headers.lower() and self._status not in (204, 304):
            length = b"content-length: %d\r\n" % len(body)
        head = self._start(length)
        return head if exchange.head_only else head + body

    def _start(self, framing: bytes) -> bytes:
        exchange = self._exchange
        close = b"connection: close\r\n" if exchange.close else b""
        return b"".join(
            (
                status_line(self._status),
                self._headers,
                header_lines(exchange.headers),
                CLOCK.line,
                b"x-content-type-options: nosniff\r\n",
                b"x-request-id: " + exchange.request_id + b"\r\n",
                framing,
                close,
                b"\r\n",
            )
        )

    async def _write_part(self, body: bytes, *, last: bool) -> None:
        exchange = self._exchange
        connection = exchange.connection
        if not self._streaming:
            self._streaming = True
            # No response can follow one without a known length.
            exchange.close = exchange.close or not exchange.head_only
            start = self._start(b"transfer-encoding: chunked\r\n" if exchange.chunkable else b"")
            if exchange.head_only:
                connection.finish(exchange, start)
                self.lost.set()
            elif connection.half_closed:
                connection.transport.close()
            elif not connection.transport.is_closing():
                exchange.in_parts = True
                connection.transport.write(start)
        if connection.transport.is_closing() or exchange.head_only:
            return
        if body:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if exchange.chunkable else body
            connection.transport.write(chunk)
            await connection.writable()
        if last:
            connection.finish(exchange, b"0\r\n\r\n" if exchange.chunkable else b"")


def _header_lines(headers: Any) -> bytes:
    return b"".join(b"%b: %b\r\n" % (name, value) for name, value in headers)
