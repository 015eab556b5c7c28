"""Keeps one worker process running beside the server, nudges it, and tracks its state."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Mapping, Sequence

import structlog

from headrace.observability.events import WORKER_DIED
from headrace.store.contract.commits import Pending

#: Pause before a dead worker is started again; doubles up to the maximum while it keeps dying.
RESTART_SECONDS_MIN = 0.2
RESTART_SECONDS_MAX = 10.0
#: A worker that ran longer resets the pause.
HEALTHY_SECONDS = 30.0
STOP_SECONDS_MAX = 6.0
#: Exit code of a worker with a wrong setting, as of every command: no restart will help.
UNUSABLE = 2
#: Longest state that a worker reports; the rest is left out.
STATE_BYTES_MAX = 2048
#: Minimum interval of nudges; in between, the worker polls.
NUDGE_SECONDS_MIN = 0.002

_ENDED = "the worker has ended and is started again"

_log = structlog.get_logger()


class WorkerSupervisor:
    """Starts `command` with one end of a pair of sockets as its standard input.

    The worker reads a byte for each nudge, and writes a line whenever its state changes: what keeps
    it from working, empty for nothing.

    Args:
        environ: the whole environment of the worker.
    """

    def __init__(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        #: Called when a worker says that its settings cannot be used.
        self.on_unusable: Callable[[], None] = lambda: None
        self._command = command
        self._environ = environ
        self._process: asyncio.subprocess.Process | None = None
        self._socket: socket.socket | None = None
        self._nudged_at = 0.0
        self._stopping = asyncio.Event()
        self.restarts = 0
        #: What keeps the worker from working now; None when nothing does, as far as it is known.
        self.problem: str | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the worker that runs now."""
        return None if self._process is None else self._process.pid

    def nudge(self, batch: list[Pending]) -> None:
        """Tell the worker that a commit has stored events. Never blocks, never raises."""
        del batch
        now = asyncio.get_running_loop().time()
        if self._socket is None or now - self._nudged_at < NUDGE_SECONDS_MIN:
            return
        self._nudged_at = now
        # A full buffer means that the worker has enough nudges.
        with contextlib.suppress(OSError):
            self._socket.send(b".")

    async def run(self) -> None:
        """Run workers until cancelled or stopped."""
        loop = asyncio.get_running_loop()
        pause = RESTART_SECONDS_MIN
        while not self._stopping.is_set():
            started = loop.time()
            code = await self._run_one()
            if self._stopping.is_set():
                return
            if code == UNUSABLE:
                self.on_unusable()
                return
            self.restarts += 1
            _log.error(WORKER_DIED, exit_code=code, restarts=self.restarts)
            healthy = loop.time() - started > HEALTHY_SECONDS
            pause = RESTART_SECONDS_MIN if healthy else min(pause * 2, RESTART_SECONDS_MAX)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)

    async def _run_one(self) -> int | None:
        """Exit status of one worker; None when the system could not start it."""
        here, there = socket.socketpair()
        here.setblocking(False)  # noqa: FBT003 - takes no name
        loop = asyncio.get_running_loop()
        try:
            process = await self._spawn(there)
            if process is None:
                return None
            self._process, self._socket = process, here
            loop.add_reader(here, self._read_state, here)
            if self._stopping.is_set():
                # Asked to stop while it was being started.
                process.terminate()
            return await process.wait()
        finally:
            self._socket, self.problem = None, _ENDED
            loop.remove_reader(here)
            # This signals to the worker that its server is gone.
            here.close()

    def _read_state(self, here: socket.socket) -> None:
        try:
            said = here.recv(STATE_BYTES_MAX)
        except OSError:
            said = b""
        if not said:
            # The worker closed its end or exited; its exit status tells which.
            asyncio.get_running_loop().remove_reader(here)
            return
        lines = said.decode(errors="replace").split("\n")
        if len(lines) > 1:
            self.problem = lines[-2] or None

    async def _spawn(self, there: socket.socket) -> asyncio.subprocess.Process | None:
        try:
            return await asyncio.create_subprocess_exec(
                *self._command, stdin=there.fileno(), env=dict(self._environ)
            )
        except OSError as error:
            _log.error(WORKER_DIED, error=str(error))
            return None
        finally:
            there.close()

    async def stop(self) -> None:
        """Ask the worker to end; kill it if it does not."""
        self._stopping.set()
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), STOP_SECONDS_MAX)
            except TimeoutError:
                process.kill()
                await process.wait()
