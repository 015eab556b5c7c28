"""A process that calls handlers for a worker, one at a time; `isolation.py` starts and ends it.

It may be killed at any moment, also by its handler. It ends with its worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
from pathlib import Path

import msgspec

from headrace.delivery.contract import Delivery, Failed, HandlerTarget
from headrace.delivery.handlers.frames import Call, Ready, Result, Setup, frame, read_frame
from headrace.delivery.handlers.loading import HandlersNotLoadedError, load_handlers
from headrace.delivery.handlers.registry import HandlerRegistry
from headrace.delivery.handlers.transport import HandlerLimits, HandlerTransport

_PR_SET_PDEATHSIG = 1
_OOM_SCORE = Path("/proc/self/oom_score_adj")


def main() -> None:
    """Load the handlers of `argv[2]`, then serve the socket of number `argv[1]`."""
    descriptor, setup = int(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=Setup)
    # Child processes of a handler must not inherit it.
    os.set_inheritable(descriptor, False)  # noqa: FBT003 - takes no name
    _end_with_worker()
    _be_killed_first()
    connection = socket.socket(fileno=descriptor)
    directory = Path(setup.directory) if setup.directory else None
    try:
        registry = load_handlers(setup.modules, directory)
    except HandlersNotLoadedError as error:
        connection.sendall(frame(Ready(str(error))))
        return
    connection.sendall(frame(Ready(None)))
    asyncio.run(_serve(connection, registry, HandlerLimits(deadline_s=setup.deadline_s)))


def _end_with_worker() -> None:
    """Be killed when the worker ends, even inside a call that holds the interpreter.

    Where the system cannot do that, the closed socket shows it as soon as anything runs.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _be_killed_first() -> None:
    """When memory runs out, let the system kill this process, not the worker."""
    with contextlib.suppress(OSError):
        _OOM_SCORE.write_text("1000", "ascii")


async def _serve(
    connection: socket.socket, registry: HandlerRegistry, limits: HandlerLimits
) -> None:
    reader, writer = await asyncio.open_connection(sock=connection)
    transport = HandlerTransport(registry, limits)

    async def respond(call: Call) -> None:
        writer.write(frame(await _result(transport, call)))
        await writer.drain()

    responding: asyncio.Task[None] | None = None
    # Keeps reading during a call, to notice the end of the worker.
    while (call := await read_frame(reader, Call)) is not None:
        if responding is not None:
            await responding
        responding = asyncio.create_task(respond(call))
    # Threads that a handler has left running must not keep the process alive.
    os._exit(0)


async def _result(transport: HandlerTransport, call: Call) -> Result:
    target = HandlerTarget(name=call.handler)
    delivery = Delivery(id=call.id, attempt=call.attempt, event=call.event, target=target)
    outcome = await transport.attempt(delivery)
    if isinstance(outcome, Failed):
        return Result(outcome.duration_us, outcome.cause, outcome.message)
    return Result(outcome.duration_us, None, "")


if __name__ == "__main__":
    main()
