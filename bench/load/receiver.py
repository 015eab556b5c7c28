"""A webhook receiver: responds at once on `/ok`, never on `/dead`, with its count on `/count`.

python -m bench.load.receiver --port 9000
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from typing import cast

import uvloop

from bench.processes import HOST

_REFUSED = b"HTTP/1.1 422 Unprocessable Content\r\nContent-Length: 0\r\n\r\n"
_DONE = b"HTTP/1.1 204 No Content\r\n\r\n"
HEAD_BYTES_MAX = 16_384


class Counter:
    """Deliveries that were answered."""

    def __init__(self) -> None:
        self.answered = 0


class Connection(asyncio.Protocol):
    """One keep-alive connection; every request has a `Content-Length` or no body."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport for responses."""
        # The loop's own class is not one of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Respond to every complete request."""
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end]
            whole = end + 4 + _content_length(head)
            if len(self._received) < whole:
                return
            self._received = self._received[whole:]
            self._answer(head)
        if len(self._received) > HEAD_BYTES_MAX:
            self._transport.abort()

    def _answer(self, head: bytes) -> None:
        path = head.split(b" ", 2)[1]
        if path.startswith(b"/ok"):
            self._counter.answered += 1
            self._transport.write(_DONE)
        elif path.startswith(b"/refusing"):
            self._transport.write(_REFUSED)
        elif path.startswith(b"/count"):
            text = b"%d" % self._counter.answered
            length = b"Content-Length: %d" % len(text)
            self._transport.write(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n\r\n" + text)


def _content_length(head: bytes) -> int:
    lines = (line.partition(b":") for line in head.lower().split(b"\r\n"))
    return next((int(value) for name, _, value in lines if name == b"content-length"), 0)


async def serve(port: int) -> None:
    """Listen until the process is ended."""
    counter = Counter()
    make: Callable[[], asyncio.Protocol] = lambda: Connection(counter)  # noqa: E731 - a factory
    server = await asyncio.get_running_loop().create_server(make, HOST, port)
    await server.serve_forever()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
