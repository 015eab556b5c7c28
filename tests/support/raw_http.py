"""HTTP/1.1 over a blocking socket: the test controls every byte that is sent."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

HOST = "127.0.0.1"
#: Longest wait for the next bytes; longer than any deadline of the server.
SILENCE_SECONDS_MAX = 30.0


@dataclass(frozen=True, kw_only=True)
class Response:
    """One response; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    #: Interim responses (1xx) before it.
    interim: tuple[int, ...] = ()

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def data(self) -> Any:
        return self.json()["data"]

    @property
    def code(self) -> str:
        """`error.code` of an error response."""
        answer = self.json()
        assert answer["status"] == self.status
        return str(answer["error"]["code"])

    @property
    def fields(self) -> list[str]:
        """The fields named in `error.details`."""
        return [detail["field"] for detail in self.json()["error"].get("details", [])]


class ConnectionEndedError(Exception):
    """The server closed before a whole response had arrived; `args[0]` is the part that had."""


@dataclass
class Connection:
    """One connection to the server."""

    port: int
    timeout_s: float = SILENCE_SECONDS_MAX
    _left: bytes = field(default=b"", init=False)

    def __post_init__(self) -> None:
        self.socket = socket.create_connection((HOST, self.port), timeout=self.timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_all_accepted(self, data: bytes) -> None:
        """Send, and ignore that the server closed before it read everything."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return

    def half_close(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def answer(self, *, head_only: bool = False) -> Response:
        """Read one response, with the interim ones before it.

        Raises:
            ConnectionEndedError: the server closed first.
        """
        interim: list[int] = []
        while True:
            status, headers = self._head()
            if status < 200:
                interim.append(status)
                continue
            body = b"" if head_only or status in (204, 304) else self._body(headers)
            return Response(status=status, headers=headers, body=body, interim=tuple(interim))

    def head(self) -> Response:
        """Read only the head of an endless response."""
        status, headers = self._head()
        return Response(status=status, headers=headers, body=b"")

    def read_until(self, end: bytes) -> bytes:
        """Read up to and including `end`."""
        while end not in self._left:
            self._more()
        found, _, self._left = self._left.partition(end)
        return found + end

    def closed(self) -> bool:
        """Whether the server closes without sending more; waits for it."""
        if self._left:
            return False
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def _head(self) -> tuple[int, dict[str, str]]:
        status_line, *lines = self.read_until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, status, _ = status_line.split(" ", 2)
        assert version == "HTTP/1.1"
        headers: dict[str, str] = {}
        for line in filter(None, lines):
            name, _, value = line.partition(":")
            assert name.lower() not in headers, f"{name} is there twice"
            headers[name.lower()] = value.strip()
        return int(status), headers

    def _body(self, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding") == "chunked":
            return self._chunks()
        length = int(headers["content-length"])
        while len(self._left) < length:
            self._more()
        body, self._left = self._left[:length], self._left[length:]
        return body

    def _chunks(self) -> bytes:
        body = b""
        while True:
            size = int(self.read_until(b"\r\n"), 16)
            while len(self._left) < size + 2:
                self._more()
            chunk, self._left = self._left[:size], self._left[size + 2 :]
            if not size:
                return body
            body += chunk

    def _more(self) -> None:
        data = self.socket.recv(256 * 1024)
        if not data:
            raise ConnectionEndedError(self._left)
        self._left += data


def head_of(
    method: str,
    target: str,
    *,
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
    length: int | None = None,
    body_type: str = "application/json",
) -> bytes:
    """The head of a request; `length` None sends no Content-Length and no Content-Type."""
    lines = {"Host": "test"}
    if key is not None:
        lines["Authorization"] = f"Bearer {key}"
    if length is not None:
        lines["Content-Type"] = body_type
        lines["Content-Length"] = str(length)
    lines |= headers or {}
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {target} HTTP/1.1\r\n{text}\r\n".encode("latin-1")


@dataclass
class Client:
    """Calls with one API key over one connection, reopened whenever the server has closed it."""

    port: int
    key: str | None
    _connection: Connection | None = field(default=None, init=False)

    def get(self, target: str, **headers: str) -> Response:
        return self.request("GET", target, headers=_header_names(headers))

    def post(
        self,
        target: str,
        body: bytes | str,
        *,
        body_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        data = body.encode() if isinstance(body, str) else body
        return self.request("POST", target, body=data, body_type=body_type, headers=headers)

    def send(self, event: Mapping[str, Any], **headers: str) -> Response:
        """`POST /events` with an event made of Python values."""
        return self.post("/events", json.dumps(event), headers=_header_names(headers))

    def request(
        self,
        method: str,
        target: str,
        *,
        body: bytes | None = None,
        body_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        length = None if body is None else len(body)
        head = head_of(
            method, target, key=self.key, headers=headers, length=length, body_type=body_type
        )
        connection = self._connection or Connection(self.port)
        self._connection = None
        try:
            connection.send_all_accepted(head + (body or b""))
            answer = connection.answer(head_only=method == "HEAD")
        except BaseException:
            connection.close()
            raise
        assert answer.headers["x-request-id"]
        if answer.headers.get("connection") == "close":
            connection.close()
        else:
            self._connection = connection
        return answer

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _header_names(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
