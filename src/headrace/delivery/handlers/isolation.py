"""Calls handlers that may crash their process in processes of their own.

Each makes one call at a time, so the call that crashed it is known, and neither the worker nor
another delivery is affected. They are started when needed and end after a while without calls.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from headrace.delivery.contract import (
    AttemptOutcome,
    Delivered,
    Delivery,
    DeliveryError,
    Failed,
    FailureCause,
    HandlerTarget,
    Isolation,
    Transport,
)
from headrace.delivery.handlers.frames import Call, Ready, Result, Setup, frame, read_frame

_MODULE = "headrace.delivery.handlers.process"
#: Between the end of a process and its last message, or between the end of its socket and its own.
_LAST_WORD_S = 1.0
#: For the system to end a killed process.
_KILLED_S = 2.0

_Said = TypeVar("_Said", Ready, Result)


@dataclass(frozen=True, kw_only=True, slots=True)
class IsolationLimits:
    """Bounds of the processes of one worker."""

    #: Concurrent processes; further calls wait in order, before their deadlines begin. Each takes
    #: the memory of an interpreter with the modules of the handlers.
    processes_max: int = 4
    deadline_s: float = 30.0
    #: After the deadline, for a process to report that itself; then it is killed.
    grace_s: float = 5.0
    #: For loading the modules.
    start_s: float = 60.0
    #: A process without calls ends after this.
    idle_s: float = 30.0


class IsolatingHandlers:
    """Calls handlers in the worker, and suspects in separate processes.

    Args:
        in_worker: makes the calls of deliveries that are no suspects; not closed here.
        modules: what a process loads, by dotted names.
        directory: added first to its import path.
    """

    def __init__(
        self,
        in_worker: Transport,
        modules: Sequence[str],
        directory: Path | None,
        limits: IsolationLimits | None = None,
    ) -> None:
        self._in_worker = in_worker
        self._limits = limits or IsolationLimits()
        self._setup = Setup(
            tuple(modules), str(directory or ""), deadline_s=self._limits.deadline_s
        )
        self._slots = asyncio.Semaphore(self._limits.processes_max)
        self._processes: set[_Process] = set()
        #: The idle ones of those, the longest idle first.
        self._idle: list[_Process] = []
        self._expiring: set[asyncio.Task[None]] = set()

    async def attempt(self, delivery: Delivery) -> AttemptOutcome:
        """Make one call; see `headrace.delivery.contract.Transport`."""
        if delivery.isolation is Isolation.NONE:
            return await self._in_worker.attempt(delivery)
        async with self._slots:
            began_ns = time.perf_counter_ns()
            try:
                result = await self._call(delivery)
            except DeliveryError as error:
                duration_us = (time.perf_counter_ns() - began_ns) // 1000
                return Failed(cause=error.cause, message=str(error), duration_us=duration_us)
        if result.cause is None:
            return Delivered(duration_us=result.duration_us)
        return Failed(cause=result.cause, message=result.message, duration_us=result.duration_us)

    async def close(self) -> None:
        """Kill all processes."""
        self._idle.clear()
        await asyncio.gather(*(self._end(process) for process in [*self._processes]))
        await asyncio.gather(*self._expiring)

    async def _call(self, delivery: Delivery) -> Result:
        if not isinstance(delivery.target, HandlerTarget):
            raise DeliveryError(FailureCause.INTERNAL, "a handler transport needs a handler")
        call = Call(delivery.target.name, delivery.id, delivery.attempt, delivery.event)
        process = await self._take(new=delivery.isolation is Isolation.NEW)
        reusable = False
        try:
            async with asyncio.timeout(self._limits.deadline_s + self._limits.grace_s):
                result = await process.call(call)
            # A call past its deadline still runs there.
            reusable = result.cause is not FailureCause.DEADLINE_EXCEEDED
        except TimeoutError:
            message = f"the handler did not return within {self._limits.deadline_s:g} seconds"
            raise DeliveryError(FailureCause.DEADLINE_EXCEEDED, message) from None
        finally:
            if reusable and process in self._processes:
                self._idle.append(process)
                process.idle(self._limits.idle_s, self._expire)
            else:
                await self._end(process)
        return result

    async def _take(self, *, new: bool) -> _Process:
        """A ready process; one without earlier calls if it must be new."""
        while self._idle and not new:
            process = self._idle.pop()
            if process.alive:
                process.idle(None, self._expire)
                return process
            await self._end(process)
        while self._idle and len(self._processes) >= self._limits.processes_max:
            await self._end(self._idle.pop(0))
        process = await _Process.start(self._setup)
        self._processes.add(process)
        try:
            async with asyncio.timeout(self._limits.start_s):
                await process.ready()
        except TimeoutError:
            await self._end(process)
            message = f"the handlers were not loaded within {self._limits.start_s:g} seconds"
            raise DeliveryError(FailureCause.INTERNAL, message) from None
        except BaseException:
            await self._end(process)
            raise
        return process

    def _expire(self, process: _Process) -> None:
        self._idle.remove(process)
        task = asyncio.ensure_future(self._end(process))
        self._expiring.add(task)
        task.add_done_callback(self._expiring.discard)

    async def _end(self, process: _Process) -> None:
        self._processes.discard(process)
        await process.kill()


class _Process:
    """One process and the socket to it."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._ended = asyncio.ensure_future(process.wait())
        self._expiry: asyncio.TimerHandle | None = None

    @classmethod
    async def start(cls, setup: Setup) -> _Process:
        """Start one; it loads the handlers in the background.

        Raises:
            DeliveryError: the system cannot start another process.
        """
        here, there = socket.socketpair()
        try:
            with there:
                process = await asyncio.create_subprocess_exec(
                    # Output of a handler before it ends the process must be visible.
                    *(sys.executable, "-u", "-m", _MODULE),
                    *(str(there.fileno()), msgspec.json.encode(setup).decode()),
                    pass_fds=(there.fileno(),),
                    stdin=asyncio.subprocess.DEVNULL,
                    # Signals to the group of a handler's process must not reach the worker.
                    start_new_session=True,
                )
            reader, writer = await asyncio.open_connection(sock=here)
        except OSError as error:
            here.close()
            message = f"a process for the handler could not be started: {error.strerror}"
            raise DeliveryError(FailureCause.INTERNAL, message) from error
        except BaseException:
            here.close()
            raise
        return cls(process, reader, writer)

    @property
    def alive(self) -> bool:
        """Whether it can be called, as far as known."""
        return not self._ended.done() and not self._reader.at_eof()

    def idle(self, seconds: float | None, expire: Callable[[_Process], None]) -> None:
        """Call `expire` after so many seconds without a call; None while a call runs."""
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        if seconds is not None:
            loop = asyncio.get_running_loop()
            self._expiry = loop.call_later(seconds, expire, self)

    async def kill(self) -> None:
        """Kill it, whatever it does."""
        if self._expiry is not None:
            self._expiry.cancel()
        with suppress(ProcessLookupError):
            self._process.kill()
        self._writer.close()
        # Only a process that is stuck in the kernel, as on a hanging disk, takes longer.
        await asyncio.wait({self._ended}, timeout=_KILLED_S)

    async def ready(self) -> None:
        """Wait until it has loaded the handlers.

        Raises:
            DeliveryError: it cannot; that is not caused by an event.
        """
        said = await self._read(Ready)
        if said is None:
            message = f"the process for the handler {await self._ending()} while it started"
            raise DeliveryError(FailureCause.INTERNAL, message)
        if said.error is not None:
            raise DeliveryError(FailureCause.INTERNAL, said.error)

    async def call(self, call: Call) -> Result:
        """Make a call.

        Raises:
            DeliveryError: the process ended before the call did.
        """
        with suppress(ConnectionError):
            self._writer.write(frame(call))
            await self._writer.drain()
        result = await self._read(Result)
        if result is None:
            message = f"the process of the handler {await self._ending()} during the call"
            raise DeliveryError(FailureCause.HANDLER_DIED, message)
        return result

    async def _read(self, kind: type[_Said]) -> _Said | None:
        """The next message; None when the process has ended or sends an invalid one."""
        # A child process of the handler may keep the socket open after the end of this one.
        reading = asyncio.ensure_future(read_frame(self._reader, kind))
        try:
            await asyncio.wait({reading, self._ended}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                # A message sent before its end may still be in the event loop.
                await asyncio.wait({reading}, timeout=_LAST_WORD_S)
            return reading.result() if reading.done() else None
        except (ValueError, OSError):
            return None
        finally:
            reading.cancel()

    async def _ending(self) -> str:
        """How it ended."""
        # Possibly only its socket is closed.
        await asyncio.wait({self._ended}, timeout=_LAST_WORD_S)
        with suppress(ProcessLookupError):
            self._process.kill()
        status = await asyncio.shield(self._ended)
        if status >= 0:
            return f"exited with status {status}"
        try:
            return f"was ended by {signal.Signals(-status).name}"
        except ValueError:
            return f"was ended by signal {-status}"
