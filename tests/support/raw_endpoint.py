"""Webhook endpoints in threads that send raw bytes as responses."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class RawEndpoint:
    """Sends `head` for each request, then `block` endlessly; without a block it closes.

    Its threads block in the system, so the socket always has more to read.
    """

    head: bytes
    block: bytes = b""
    #: Requests that arrived.
    requests: int = 0
    port: int = 0
    _counting: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            if not connection.recv(65_536):
                return
            with self._counting:
                self.requests += 1
            connection.sendall(self.head)
            while self.block:
                connection.sendall(self.block)

    def _accept(self, listener: socket.socket, threads: list[threading.Thread]) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                thread = threading.Thread(target=self._serve, args=(connection,))
                threads.append(thread)
                thread.start()


@contextmanager
def raw_endpoint(head: bytes, block: bytes = b"") -> Iterator[RawEndpoint]:
    """Listen until the block ends, and until every caller has hung up."""
    endpoint = RawEndpoint(head, block)
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        endpoint.port = listener.getsockname()[1]
        accepting = threading.Thread(target=endpoint._accept, args=(listener, threads))
        accepting.start()
        try:
            yield endpoint
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in threads:
                thread.join()
