"""API servers and workers of one PostgreSQL store, each in a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from headrace.domain.access.api_keys import Scope, issue_key
from headrace.domain.timestamps import now_us
from headrace.stores import open_store
from tests.support.server import clean_environment
from tests.support.waiting import wait_until
from tests.torture.client import Client, Target
from tests.torture.ledger import Ledger
from tests.torture.server import ServerProcess

STARTED = b"worker.started"
STOP_SECONDS_MAX = 15.0
#: Records each call, in one write that no kill can split.
_HANDLER = """
import os
from headrace import on

log = os.open({path!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

@on("order.completed")
def remember(event):
    os.write(log, str(event.id).encode() + b"\\n")
"""


async def prepare_shared(url: str) -> str:
    """Make a project and a key in an empty store; returns the key."""
    store = await open_store(url, serve=True)
    try:
        project = await store.projects.create("torture", now_us(), actor="test")
        issued = issue_key(project.id, frozenset(Scope), name="torture", now_us=now_us())
        await store.projects.add_key(issued.key, actor="test")
        return issued.text
    finally:
        await store.close()


class Worker:
    """One worker; `start` again after `kill`."""

    def __init__(
        self,
        folder: Path,
        url: str,
        name: str,
        environment: Mapping[str, str],
        program: Sequence[str],
    ) -> None:
        self.log = folder / f"{name}.log"
        self._command = [sys.executable, *program, "worker", "--store", url]
        self._environment = clean_environment(environment)
        self._starts = 0
        self.process: asyncio.subprocess.Process

    async def start(self) -> None:
        """Start and wait until it is ready."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self._command,
                env=self._environment,
                cwd=self.log.parent,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._starts += 1
        async with asyncio.timeout(STOP_SECONDS_MAX * 2):
            while self.log.read_bytes().count(STARTED) < self._starts:
                assert self.process.returncode is None, self.log.read_text("utf-8")
                await asyncio.to_thread(os.sched_yield)

    async def kill(self) -> None:
        """End it like a power cut."""
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.process.terminate()
        return await asyncio.wait_for(self.process.wait(), STOP_SECONDS_MAX)


class Nodes:
    """Processes of one store, and clients that send to its API servers.

    Args:
        url: of the store as the processes reach it.
        handlers: whether workers call a Python handler that keeps a log of its calls.
    """

    def __init__(self, folder: Path, url: str, key: str, *, handlers: bool = False) -> None:
        self.folder = folder
        self.url = url
        self.ledger = Ledger()
        self.calls = folder / "calls.log"
        self.targets: list[Target] = []
        self.apis: list[ServerProcess] = []
        self.workers: list[Worker] = []
        self._key = key
        self._clients: list[Client] = []
        self._sending: list[asyncio.Task[None]] = []
        self._environment = {"HEADRACE_LOG_FORMAT": "json"}
        if handlers:
            (folder / "torture_handlers.py").write_text(
                _HANDLER.format(path=str(self.calls)), "utf-8"
            )
            self._environment["HEADRACE_HANDLERS"] = "torture_handlers"

    async def add_api(
        self,
        *,
        program: Sequence[str] = ("-m", "headrace"),
        environment: Mapping[str, str] | None = None,
    ) -> Target:
        """Start an API server; returns its address."""
        name = f"api{len(self.apis)}.db"
        variables = {"HEADRACE_STORE": self.url, **(environment or {})}
        server = ServerProcess(
            self.folder / name, command="api", environment=variables, program=program
        )
        target = Target(self.ledger, self._key)
        self.apis.append(server)
        self.targets.append(target)
        await self.start_api(len(self.apis) - 1)
        return target

    async def start_api(self, number: int) -> None:
        """Restart one that has ended."""
        await self.apis[number].start()
        self.targets[number].port = self.apis[number].port
        self.targets[number].up.set()

    async def kill_api(self, number: int) -> None:
        """End one like a power cut, and start it again."""
        self.targets[number].up.clear()
        await self.apis[number].kill()
        await self.start_api(number)

    async def add_worker(
        self,
        *,
        program: Sequence[str] = ("-m", "headrace"),
        environment: Mapping[str, str] | None = None,
    ) -> Worker:
        """Start a worker."""
        variables = {**self._environment, **(environment or {})}
        worker = Worker(self.folder, self.url, f"worker{len(self.workers)}", variables, program)
        self.workers.append(worker)
        await worker.start()
        return worker

    def send(self, clients: int) -> None:
        """Start this many clients for each API server."""
        for at, target in enumerate(self.targets):
            for number in range(clients):
                name = f"api{at}-client{number}"
                client = Client(target, name, seed=at * 1000 + number)
                self._clients.append(client)
                self._sending.append(asyncio.create_task(client.run()))

    async def acknowledged(self, more: int, seconds_max: float = 60.0) -> None:
        """Wait for this many more acknowledged events; an error of a client ends the wait."""
        reached = asyncio.create_task(self.ledger.wait_acknowledged(more))
        async with asyncio.timeout(seconds_max):
            done, _ = await asyncio.wait(
                {reached, *self._sending}, return_when=asyncio.FIRST_COMPLETED
            )
        reached.cancel()
        for task in done - {reached}:
            task.result()

    async def all_refused(self) -> None:
        """Wait until each client was rejected, so that no earlier response is in flight."""
        before = [client.refused for client in self._clients]

        def seen() -> bool:
            now = [client.refused for client in self._clients]
            return all(after > first for first, after in zip(before, now, strict=True))

        await asyncio.to_thread(wait_until, seen, "each client was refused")

    async def finish(self) -> None:
        """Finish every started request."""
        for target in self.targets:
            target.finishing = True
        async with asyncio.timeout(60.0):
            await asyncio.gather(*self._sending)

    async def abandon(self) -> None:
        """Stop the clients, even while they wait."""
        for sending in self._sending:
            sending.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        for client in self._clients:
            client.disconnect()

    async def stop(self) -> list[int]:
        """SIGTERM for all; their exit statuses."""
        statuses = [await worker.stop() for worker in self.workers]
        return statuses + [await api.stop() for api in self.apis]

    def close(self) -> None:
        """End processes that still run, paused ones included."""
        for process in (
            *(worker.process for worker in self.workers),
            *(api.process for api in self.apis if hasattr(api, "process")),
        ):
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
