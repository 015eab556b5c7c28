"""Workers of a store, each in a process of its own, that are killed while they work."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw

from headrace.domain.events.event import Status
from tests.support.server import clean_environment
from tests.support.waiting import wait_until

STOP_SECONDS_MAX = 12.0


class Workers:
    """Some workers of one store: one is the leader, the others stand by.

    Args:
        count: how many; every one that is killed is replaced at once.
    """

    def __init__(self, database: Path, count: int) -> None:
        self._url = f"sqlite:///{database}"
        self._connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READWRITE)
        self._connection.set_busy_timeout(5000)
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._spawned = 0
        self.log = database.with_name("workers.log")
        for _ in range(count):
            self._start()

    def _start(self) -> None:
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "headrace", "worker", "--store", self._url],
                env=clean_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._running[process.pid] = process
        self._spawned += 1

    def kill_the_one_at_work(self) -> None:
        """Wait until a worker is processing, then end it like a power cut."""
        while (process := self._running.get(self._at_work())) is None:
            wait_until(lambda: self._at_work() in self._running, "a worker is the leader")
        process.kill()
        process.wait()
        del self._running[process.pid]
        self._start()

    def _at_work(self) -> int:
        """Process id of the leader, 0 without one."""
        found: Any = self._connection.execute(
            "SELECT owner FROM leader_leases WHERE name = 'processing'"
        ).fetchone()
        return int(found[0].split(":")[-2]) if found is not None and found[0] else 0

    def wait_for_progress(self) -> None:
        """Wait until the first queued event is done.

        Claims of a dead worker are processed first, one by one, so no event is held by three
        workers that are killed in a row.
        """
        first: Any = self._connection.execute("SELECT min(sequence) FROM event_queue").fetchone()
        if first[0] is None:
            return
        finished = f"SELECT status >= {Status.PROCESSED:d} FROM events WHERE sequence = ?"
        wait_until(
            lambda: self._connection.execute(finished, (first[0],)).fetchone() == (1,),
            "the first in line is processed",
        )

    def stop(self) -> list[int]:
        """SIGTERM for all; their exit statuses.

        A process that is still starting cannot stop cleanly, so each is waited for. Those that were
        killed had started, too: they were leaders.
        """
        wait_until(
            lambda: self.log.read_bytes().count(b"worker.started") >= self._spawned,
            "every worker has started",
        )
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        return [process.wait(STOP_SECONDS_MAX) for process in self._running.values()]

    def close(self) -> None:
        """End workers that still run."""
        for pid, process in self._running.items():
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                process.wait()
        self._connection.close()
