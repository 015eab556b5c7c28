"""Calls a Headrace over HTTP with the standard library: one connection, one request at a time."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import msgspec

from headrace.cli.shared.failure import CommandFailed, usage
from headrace.cli.shared.output import printable
from headrace.config import Settings

TIMEOUT_S = 30.0
#: Above any response to a command; a larger one is not from Headrace.
RESPONSE_BYTES_MAX = 64 * 1024 * 1024


class Response(msgspec.Struct, frozen=True):
    """A response of the server."""

    status: int
    #: Names in lower case.
    headers: dict[str, str]
    body: bytes

    @property
    def retry_after_s(self) -> float | None:
        """Seconds to wait before the next attempt, None when the server does not say."""
        text = self.headers.get("retry-after", "")
        return float(text) if text.isdecimal() else None

    def json(self) -> Any:
        """The decoded body.

        Raises:
            CommandFailed: it is no JSON, so the server is no Headrace.
        """
        try:
            return json.loads(self.body)
        except ValueError:
            raise CommandFailed(f"The response ({self.status}) is not from Headrace.") from None


class Unreachable(Exception):
    """There was no response; whether the request was carried out is unknown."""


class Client:
    """Calls one server with one API key over a persistent connection."""

    def __init__(self, url: str, key: str, timeout_s: float = TIMEOUT_S) -> None:
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise usage(f"{url!r} is not a server URL such as http://127.0.0.1:8080")
        if not key.isascii() or not key.isprintable() or " " in key:
            raise usage("The API key contains invalid characters.")
        make = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._path = parts.path
        self._headers = {"Authorization": f"Bearer {key}"}
        try:
            self._connection = make(parts.hostname, parts.port, timeout=timeout_s)
        except ValueError as error:
            raise usage(f"{url!r}: {error}") from None

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        headers: dict[str, str] | None = None,
    ) -> Response:
        """Send one request and read its whole response.

        Raises:
            Unreachable: there was no response.
        """
        response = self.open(method, path, body, headers=headers)
        try:
            content = response.read(RESPONSE_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unreachable(self._why(error)) from None
        headers_found = {name.lower(): value for name, value in response.getheaders()}
        return Response(response.status, headers_found, content)

    def open(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        headers: dict[str, str] | None = None,
    ) -> http.client.HTTPResponse:
        """Send a request and return once the head of its response has arrived.

        Raises:
            Unreachable: there was no response.
        """
        sent = self._headers | (headers or {})
        try:
            self._connection.request(method, self._path + path, body, sent)
            return self._connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unreachable(self._why(error)) from None

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        self._connection.close()

    def _why(self, error: Exception) -> str:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if isinstance(error, ConnectionRefusedError):
            return f"Cannot connect to {self.url}: {reason} (is `headrace serve` running?)"
        return f"No response from {self.url}: {reason}"


def client_of(settings: Settings, timeout_s: float = TIMEOUT_S) -> Client:
    """Client of the server in the settings.

    Raises:
        CommandFailed: no key is given.
    """
    if not settings.key:
        raise usage("An API key is needed: pass --key or set HEADRACE_KEY.")
    return Client(settings.url, settings.key, timeout_s)


def ask(client: Client, method: str, path: str, body: bytes | None = None) -> Response:
    """Send once, for commands that leave retrying to the user.

    Raises:
        CommandFailed: no response, or a rejection, with the server's message.
    """
    headers = {} if body is None else {"Content-Type": "application/json"}
    try:
        response = client.ask(method, path, body, headers=headers)
    except Unreachable as error:
        raise CommandFailed(str(error)) from None
    if response.status >= 400:
        raise CommandFailed(f"{response.status} {error_text(response.json())}")
    return response


def error_text(response: Any) -> str:
    """The messages of an error response in one line."""
    try:
        error = response["error"]
        details = "; ".join(
            f"{d['field']}: {d['message']}" if d["field"] else d["message"]
            for d in error.get("details", [])
        )
        # With a single problem, the error's message is the problem's.
        redundant = not details or details == error["message"]
        text = f"{error['code']}: {error['message']}" + ("" if redundant else f" ({details})")
    except (TypeError, KeyError):
        text = "without a reason"
    return printable(text)
