"""A real server process that is started, killed and restarted on one store."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from headrace.domain.access.api_keys import Scope, issue_key
from headrace.domain.timestamps import now_us
from headrace.store.sqlite import open_store

#: From spawning to the line that says it is ready; far above what is promised (2 s).
READY_SECONDS_MAX = 30.0


def prepare_store(path: Path) -> str:
    """Make an empty store with a project and a key; returns the key."""

    async def make() -> str:
        store = open_store(path, serve=True)
        try:
            project = await store.projects.create("torture", now_us(), actor="test")
            issued = issue_key(project.id, frozenset(Scope), name="torture", now_us=now_us())
            await store.projects.add_key(issued.key, actor="test")
            return issued.text
        finally:
            await store.close()

    return asyncio.run(make())


class NotReadyError(Exception):
    """The process ended before it was ready; `args[0]` is its exit status."""


class ServerProcess:
    """One run of the server.

    Args:
        command: `serve`, or `api` for a server without a worker.
        wrapper: prepended to the command, such as strace and its options.
        environment: further variables.
        program: what to run instead of `-m headrace`.
    """

    def __init__(
        self,
        store: Path,
        *,
        command: str = "serve",
        wrapper: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = ("-m", "headrace"),
    ) -> None:
        self._store = store
        self._command = [*wrapper, sys.executable, *program, command, "--json", "--port", "0"]
        base = {name: value for name, value in os.environ.items() if "HEADRACE" not in name}
        self._environment = base | {
            "HEADRACE_STORE": f"sqlite:///{store}",
            "HEADRACE_DISK_FREE_MIN_BYTES": "0",
            "HEADRACE_LOG_FORMAT": "json",
            **(environment or {}),
        }
        self.log = store.with_name("server.log")
        self.port = 0
        self.ready_seconds = 0.0
        self.process: asyncio.subprocess.Process

    async def spawn(self) -> None:
        """Start the process without waiting for anything."""
        self._spawned = time.monotonic()
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self._command,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )

    async def ready(self) -> None:
        """Wait until it listens.

        Raises:
            NotReadyError: it ended instead.
        """
        assert self.process.stdout is not None
        async with asyncio.timeout(READY_SECONDS_MAX):
            line = await self.process.stdout.readline()
            if not line:
                raise NotReadyError(await self.process.wait())
        self.ready_seconds = time.monotonic() - self._spawned
        self.port = int(json.loads(line)["url"].rpartition(":")[2])

    async def start(self) -> None:
        """Start and wait until it listens."""
        await self.spawn()
        await self.ready()

    async def kill(self, *, children: bool = True) -> None:
        """SIGKILL for the process, and for its worker unless that is to notice by itself."""
        if self.process.returncode is None:
            if children:
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()
        await self.process.wait()

    async def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        if self.process.returncode is None:
            self.process.terminate()
        return await self.ended()

    async def ended(self) -> int:
        """Wait until it has ended, for any reason; returns the exit status."""
        status = await asyncio.wait_for(self.process.wait(), READY_SECONDS_MAX)
        await self.left()
        return status

    async def left(self) -> None:
        """Also wait until the last of its processes has ended."""
        assert self.process.stdout is not None
        await asyncio.wait_for(self.process.stdout.read(), READY_SECONDS_MAX)
