"""The minimum of any endpoint: decode an event, encode a response. Nothing is stored.

`rsgi` runs under granian, `asgi` under uvicorn; both are callables without any framework.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec

JSON = "application/json"


class Event(msgspec.Struct, forbid_unknown_fields=True):
    """The request of a single event."""

    event: str
    contact_id: str | None = None
    external_id: str | None = None
    email: str | None = None
    payload: msgspec.Raw = msgspec.Raw(b"{}")
    occurred_at: str | None = None
    idempotency_key: str | None = None


_decode = msgspec.json.Decoder(Event).decode
_encode = msgspec.json.Encoder().encode


def answer(body: bytes) -> bytes:
    """Return the response to a request's body."""
    event = _decode(body)
    return _encode(
        {
            "data": {
                "id": "0190f5a0-0000-7000-8000-000000000000",
                "event": event.event,
                "resolved_identity_type": "external_id",
                "resolved_identity_value": event.external_id,
                "occurred_at": event.occurred_at,
            }
        }
    )


async def asgi(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Answer an ASGI request; anything but a POST is the readiness probe."""
    if scope["type"] != "http":
        return
    status, text = 200, b"{}"
    if scope["method"] == "POST":
        body, more = b"", True
        while more:
            message = await receive()
            body += message["body"]
            more = message.get("more_body", False)
        status, text = 202, answer(body)
    headers = [(b"content-type", JSON.encode()), (b"content-length", b"%d" % len(text))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})


class RsgiScope(Protocol):
    """The used part of a request's head."""

    method: str


class RsgiProtocol(Protocol):
    """The used part of granian's side of a request."""

    async def __call__(self) -> bytes:
        """Return the whole body."""
        ...

    def response_str(self, status: int, headers: list[tuple[str, str]], body: str) -> None:
        """Respond with text."""
        ...

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Respond with bytes."""
        ...


async def rsgi(scope: RsgiScope, protocol: RsgiProtocol) -> None:
    """Answer an RSGI request; anything but a POST is the readiness probe."""
    if scope.method != "POST":
        protocol.response_str(200, [("content-type", JSON)], "{}")
        return
    body = await protocol()
    protocol.response_bytes(202, [("content-type", JSON)], answer(body))
