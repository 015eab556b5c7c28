"""Reads `GET /events/stream`."""

from __future__ import annotations

import json
from typing import Any

from tests.support.raw_http import Connection, head_of


class Watcher(Connection):
    """Reads the stream message by message."""

    def start(self, key: str) -> None:
        self.send(head_of("GET", "/events/stream", key=key))
        head = self.head()
        assert head.status == 200
        assert head.headers["content-type"].startswith("text/event-stream")
        assert head.headers["transfer-encoding"] == "chunked"
        assert head.headers["x-request-id"]
        self._text = b""
        assert "connected" in self.message()

    def message(self) -> str:
        while b"\n\n" not in self._text:
            size = int(self.read_until(b"\r\n"), 16)
            assert size
            chunk = b""
            while len(chunk) < size:
                chunk += self.read_until(b"\r\n")
            self._text += chunk[:size]
        message, _, self._text = self._text.partition(b"\n\n")
        return message.decode()

    def event(self, name: str = "a") -> dict[str, Any]:
        """The next event of that name; events of the system come in between."""
        while True:
            lines = self.message().split("\n")
            if "event: event" in lines:
                data = [line[6:] for line in lines if line.startswith("data: ")]
                event: dict[str, Any] = json.loads("\n".join(data))
                assert f"id: {event['id']}" in lines
                if event["event"] == name:
                    return event
