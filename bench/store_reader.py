"""Looks into the store of a service, through a connection that can only read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from bench.headrace_server import DATABASE
from bench.load.wrk import LoadFailedError
from headrace.domain.events import Source, Status

POLL_S = 0.05
#: Busy only while a server closes or opens the file.
BUSY_MS = 5_000


#: Only a literal lets SQLite use the index, which has the unfinished ones alone.
_UNFINISHED = f"SELECT count(*) FROM events WHERE status <> {Status.PROCESSED:d}"  # noqa: S608


class StoreReader:
    """Reads beside the processes that write; no read lasts longer than its statement."""

    def __init__(self, folder: Path) -> None:
        path = str(folder / DATABASE)
        self._connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
        self._connection.set_busy_timeout(BUSY_MS)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def rows(self, statement: str, *values: object) -> list[Any]:
        """All rows of a statement."""
        return self._connection.execute(statement, values).fetchall()

    def number(self, statement: str, *values: object) -> int:
        """The one number of a statement; 0 for NULL."""
        return int(self.rows(statement, *values)[0][0] or 0)

    def last_sequence(self) -> int:
        """The newest event's place in the order of receipt."""
        return self.number("SELECT max(sequence) FROM events")

    def waiting(self) -> int:
        """Events that wait to be processed."""
        return self.number("SELECT count(*) FROM work")

    def wait_until_processed(self, seconds_max: float) -> None:
        """Return once nothing waits.

        Raises:
            LoadFailedError: it took longer, or an event did not get through.
        """
        give_up = time.perf_counter() + seconds_max
        while self.number("SELECT EXISTS (SELECT 1 FROM work)"):
            if time.perf_counter() > give_up:
                raise LoadFailedError(f"{self.waiting()} events wait after {seconds_max:.0f} s")
            time.sleep(POLL_S)
        if unfinished := self.number(_UNFINISHED):
            raise LoadFailedError(f"{unfinished} events were not processed")

    def processed_per_second(self, after: int) -> tuple[int, float]:
        """Events sent after sequence `after`: how many, and how many were done a second."""
        (events, first_us, last_us), *_ = self.rows(
            "SELECT count(*), min(processed_us), max(processed_us) FROM events "
            "WHERE sequence > ? AND source <> ?",
            after,
            Source.SYSTEM.value,
        )
        return events, events / max(1, last_us - first_us) * 1e6


@contextmanager
def reading(folder: Path) -> Iterator[StoreReader]:
    """Read the store in `folder` until the block ends."""
    reader = StoreReader(folder)
    try:
        yield reader
    finally:
        reader.close()
