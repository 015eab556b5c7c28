"""Repeatedly kill the server while clients send, then check for faults."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from pathlib import Path

from tests.torture.check import compare
from tests.torture.client import Client, Target
from tests.torture.ledger import Ledger
from tests.torture.processing import check_processing, wait_processed
from tests.torture.report import Report
from tests.torture.rows import SqliteRows
from tests.torture.server import ServerProcess, prepare_store

CLIENTS = 24
#: A kill comes after so many further acknowledged events, drawn evenly.
EVENTS_BETWEEN_KILLS = (1, 600)
#: Share of starts that are killed before they are ready, after at most so many seconds.
KILLED_STARTS_SHARE = 0.1
START_SECONDS_MAX = 0.8


class Torture:
    """One run on one store.

    Args:
        command: which server is killed, `serve` (with its worker) or `api`.
        seed: of everything that is drawn; what the operating system does is not repeatable.
    """

    def __init__(self, folder: Path, *, seed: int, command: str = "serve") -> None:
        self._database = folder / "headrace.db"
        self._rng = random.Random(seed)
        self._seed = seed
        self._command = command
        self.ledger = Ledger()
        self.kills = self.kills_while_starting = 0
        self.restart_seconds: list[float] = []
        self.server: ServerProcess
        self._leaving: list[asyncio.Task[None]] = []

    def run(self, kills: int, seconds_max: float) -> Report:
        """Kill this often, or until the time is up; then stop cleanly and compare."""
        key = prepare_store(self._database)
        started = time.monotonic()
        asyncio.run(self._run(key, kills, started + seconds_max))
        return self._report(time.monotonic() - started)

    async def _run(self, key: str, kills: int, deadline: float) -> None:
        target = Target(self.ledger, key)
        await self._start(target)
        clients = [
            asyncio.create_task(Client(target, f"client{n}", self._rng.randrange(1 << 32)).run())
            for n in range(CLIENTS)
        ]
        while self.kills < kills and time.monotonic() < deadline:
            await self._progress(clients)
            target.up.clear()
            await self._kill(children=self._rng.random() < 0.5)
            while self.kills < kills and self._rng.random() < KILLED_STARTS_SHARE:
                await self._kill_a_start()
            await self._start(target)
        target.finishing = True
        await asyncio.gather(*clients)
        if self._command == "serve":
            await asyncio.to_thread(wait_processed, SqliteRows(self._database))
        status = await self.server.stop()
        await asyncio.gather(*self._leaving)
        if status != 0:
            self.ledger.surprises.append(f"exit status {status} after SIGTERM")

    async def _progress(self, clients: list[asyncio.Task[None]]) -> None:
        """Wait for some more acknowledged events; an error of a client ends the run."""
        more = asyncio.create_task(
            self.ledger.wait_acknowledged(self._rng.randint(*EVENTS_BETWEEN_KILLS))
        )
        done, _ = await asyncio.wait({more, *clients}, return_when=asyncio.FIRST_COMPLETED)
        more.cancel()
        for task in done - {more}:
            task.result()

    async def _start(self, target: Target) -> None:
        self.server = ServerProcess(self._database, command=self._command)
        await self.server.start()
        self.restart_seconds.append(self.server.ready_seconds)
        target.port = self.server.port
        target.up.set()

    async def _kill_a_start(self) -> None:
        """Kill while the log is emptied, the file is checked, or the modules are still read."""
        self.server = ServerProcess(self._database, command=self._command)
        await self.server.spawn()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(
                self.server.process.wait(), self._rng.uniform(0, START_SECONDS_MAX)
            )
        await self._kill(children=True)
        self.kills_while_starting += 1

    async def _kill(self, *, children: bool) -> None:
        await self.server.kill(children=children)
        self.kills += 1
        # A worker without its server ends by itself, while the next server is already starting.
        self._leaving.append(asyncio.create_task(self.server.left()))

    def _report(self, seconds: float) -> Report:
        restarts = sorted(self.restart_seconds)
        findings = compare(self.ledger, SqliteRows(self._database))
        if self._command == "serve":
            findings.processing = check_processing(SqliteRows(self._database)).faults
        return Report(
            seed=self._seed,
            kills=self.kills,
            kills_while_starting=self.kills_while_starting,
            seconds=round(seconds, 1),
            events_acknowledged=self.ledger.acknowledged,
            requests_unanswered=self.ledger.unanswered,
            restart_seconds_p50=round(restarts[len(restarts) // 2], 3),
            restart_seconds_max=round(restarts[-1], 3),
            findings=findings,
        )
