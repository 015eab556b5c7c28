"""Reads live streams, message by message."""

from __future__ import annotations

import json
import time
from typing import Any

from tests.support.raw_http import Connection, head_of

#: Longest wait for the end of a stream; far above the server's promise.
END_SECONDS_MAX = 20.0


class StreamEndedError(Exception):
    """The server has ended the stream cleanly."""


class Watcher(Connection):
    """Reads one stream."""

    _text = b""

    def start(self, key: str) -> None:
        """Open the stream of the API."""
        self.start_by(head_of("GET", "/events/stream", key=key))

    def start_by(self, request: bytes) -> None:
        """Open a stream, of the API or the backoffice."""
        self.send(request)
        head = self.head()
        assert head.status == 200
        assert head.headers["content-type"].startswith("text/event-stream")
        assert head.headers["transfer-encoding"] == "chunked"
        assert head.headers["x-request-id"]
        assert "connected" in self.message()

    def message(self) -> str:
        while b"\n\n" not in self._text:
            size = int(self.read_until(b"\r\n"), 16)
            if not size:
                raise StreamEndedError
            chunk = b""
            while len(chunk) < size:
                chunk += self.read_until(b"\r\n")
            self._text += chunk[:size]
        message, _, self._text = self._text.partition(b"\n\n")
        return message.decode()

    def last_message(self) -> str:
        """Read until the server ends the stream and closes; returns the last message."""
        message = ""
        deadline = time.monotonic() + END_SECONDS_MAX
        try:
            while True:
                message = self.message()
                # Heartbeats alone would continue for ever.
                assert time.monotonic() < deadline, "the server does not end the stream"
        except StreamEndedError:
            assert self.read_until(b"\r\n") == b"\r\n"
            assert self.closed()
        return message

    def event(self, name: str = "a") -> dict[str, Any]:
        """The next event of that name; system events may come in between."""
        while True:
            lines = self.message().split("\n")
            if "event: event" in lines:
                data = [line[6:] for line in lines if line.startswith("data: ")]
                event: dict[str, Any] = json.loads("\n".join(data))
                assert f"id: {event['id']}" in lines
                if event["event"] == name:
                    return event
