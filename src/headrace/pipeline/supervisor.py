"""Keeps one worker process running beside the server, and tells it when events arrive."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence

import structlog

from headrace.observability.events import WORKER_DIED
from headrace.store.contract import Pending

#: Pause before a dead worker is started again; doubles up to the maximum while it keeps dying.
RESTART_SECONDS_MIN = 0.2
RESTART_SECONDS_MAX = 10.0
#: A worker that ran so long did not die at once.
HEALTHY_SECONDS = 30.0
STOP_SECONDS_MAX = 6.0
#: Exit code of a worker that no restart will help, as of every command for a wrong setting.
UNUSABLE = 2
#: Nudges are at least so far apart; in between the worker looks by itself.
NUDGE_SECONDS_MIN = 0.002

_log = structlog.get_logger()


class WorkerSupervisor:
    """Starts `command` with the reading end of a pipe as its standard input.

    Args:
        environ: the whole environment of the worker.
    """

    def __init__(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        #: Called when a worker says that its settings cannot be used.
        self.on_unusable: Callable[[], None] = lambda: None
        self._command = command
        self._environ = environ
        self._process: asyncio.subprocess.Process | None = None
        self._pipe = -1
        self._nudged_at = 0.0
        self._stopping = asyncio.Event()
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """Process id of the worker that runs now."""
        return None if self._process is None else self._process.pid

    def nudge(self, batch: list[Pending]) -> None:
        """Tell the worker that a commit has stored events. Never blocks, never raises."""
        del batch
        now = asyncio.get_running_loop().time()
        if self._pipe < 0 or now - self._nudged_at < NUDGE_SECONDS_MIN:
            return
        self._nudged_at = now
        # A full pipe means that the worker has nudges enough.
        with contextlib.suppress(OSError):
            os.write(self._pipe, b".")

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
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        try:
            process = await self._spawn(reading)
            if process is None:
                return None
            self._process, self._pipe = process, writing
            if self._stopping.is_set():
                # Asked to stop while it was being started.
                process.terminate()
            return await process.wait()
        finally:
            # Closing the pipe is what tells a worker that its server is gone.
            self._pipe = -1
            os.close(writing)

    async def _spawn(self, reading: int) -> asyncio.subprocess.Process | None:
        try:
            return await asyncio.create_subprocess_exec(
                *self._command, stdin=reading, env=dict(self._environ)
            )
        except OSError as error:
            _log.error(WORKER_DIED, error=str(error))
            return None
        finally:
            os.close(reading)

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
