"""The protocol of a worker and its handler processes, over a pair of sockets.

A message is its length in four bytes and MessagePack. The process sends `Ready` once, when it has
loaded the handlers, and then one `Result` for each `Call`.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar

import msgspec

from headrace.delivery.contract import FailureCause
from headrace.domain.events.event import StoredEvent

#: Far more than an event with the largest payload needs.
MESSAGE_BYTES_MAX = 16 * 1024 * 1024
_LENGTH_BYTES = 4

T = TypeVar("T")


class Setup(msgspec.Struct, frozen=True):
    """How to start a process; its one argument besides the number of the socket."""

    modules: tuple[str, ...]
    #: Added first to the import path; empty for none.
    directory: str
    deadline_s: float


class Ready(msgspec.Struct, frozen=True):
    """The handlers are loaded, or `error` is why not."""

    error: str | None


class Call(msgspec.Struct, frozen=True):
    """Call a handler."""

    handler: str
    #: Of the delivery.
    id: str
    attempt: int
    event: StoredEvent


class Result(msgspec.Struct, frozen=True):
    """How the call ended; without a cause it succeeded."""

    duration_us: int
    cause: FailureCause | None
    message: str


def frame(message: msgspec.Struct) -> bytes:
    """A message as it is sent."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


async def read_frame(reader: asyncio.StreamReader, kind: type[T]) -> T | None:
    """The next message; None when the other side has closed.

    Raises:
        ValueError: the data is not such a message.
    """
    try:
        length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
        if length > MESSAGE_BYTES_MAX:
            message = f"a message of {length} bytes"
            raise ValueError(message)
        body = await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return msgspec.msgpack.decode(body, type=kind)
