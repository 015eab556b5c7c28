"""The torture on PostgreSQL: servers, workers and the database itself are killed in turn."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from pathlib import Path

from tests.faults.shared import OwnPlace, crash, own_place
from tests.torture.check import Findings, compare
from tests.torture.nodes import Nodes, prepare_shared
from tests.torture.processing import check_processing, wait_processed
from tests.torture.report import Report
from tests.torture.rows import PostgresRows

#: Of each kind.
PROCESSES = 2
CLIENTS = 6
#: A kill comes after so many further acknowledged events, drawn evenly.
EVENTS_BETWEEN_KILLS = (1, 300)
#: Share of kills of the database: it affects everything and is slow to restart.
DATABASE_SHARE = 0.1


class SharedTorture:
    """One run on a server of its own.

    Args:
        seed: of everything that is drawn; what the operating system does is not repeatable.
    """

    def __init__(self, folder: Path, *, seed: int) -> None:
        self._folder = folder
        self._seed = seed
        self._rng = random.Random(seed)
        self._restart_seconds: list[float] = []
        self._kills = 0

    def run(self, kills: int, seconds_max: float) -> Report:
        """Kill this often, or until the time is up; then stop cleanly and compare."""
        started = time.monotonic()
        with own_place() as place:
            nodes = asyncio.run(self._run(place, kills, started + seconds_max))
            findings = compare(nodes.ledger, PostgresRows(place))
            findings.processing = check_processing(PostgresRows(place)).faults
        return self._report(nodes, findings, time.monotonic() - started)

    async def _run(self, place: OwnPlace, kills: int, deadline: float) -> Nodes:
        nodes = Nodes(self._folder, place.url, await prepare_shared(place.url))
        try:
            for _ in range(PROCESSES):
                await nodes.add_api()
                await nodes.add_worker()
            nodes.send(CLIENTS)
            while self._kills < kills and time.monotonic() < deadline:
                await nodes.acknowledged(self._rng.randint(*EVENTS_BETWEEN_KILLS))
                began = time.monotonic()
                await self._kill(place, nodes)
                self._restart_seconds.append(time.monotonic() - began)
                self._kills += 1
            await nodes.finish()
            await asyncio.to_thread(wait_processed, PostgresRows(place))
            for status in await nodes.stop():
                if status != 0:
                    nodes.ledger.surprises.append(f"exit status {status} after SIGTERM")
        finally:
            nodes.close()
        return nodes

    async def _kill(self, place: OwnPlace, nodes: Nodes) -> None:
        number = self._rng.randrange(PROCESSES)
        if self._rng.random() < DATABASE_SHARE:
            await asyncio.to_thread(crash, place.server, signal.SIGKILL)
            # Not in a thread: the server ends with the thread that started it.
            place.server.start()
        elif self._rng.random() < 0.5:
            await nodes.kill_api(number)
        else:
            await nodes.workers[number].kill()
            await nodes.workers[number].start()

    def _report(self, nodes: Nodes, findings: Findings, seconds: float) -> Report:
        restarts = sorted(self._restart_seconds) or [0.0]
        return Report(
            seed=self._seed,
            kills=self._kills,
            kills_while_starting=0,
            seconds=round(seconds, 1),
            events_acknowledged=nodes.ledger.acknowledged,
            requests_unanswered=nodes.ledger.unanswered,
            restart_seconds_p50=round(restarts[len(restarts) // 2], 3),
            restart_seconds_max=round(restarts[-1], 3),
            findings=findings,
        )
