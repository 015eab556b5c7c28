"""Reads the store of a service, over a read-only connection."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import asyncpg
import msgspec

from bench.load.wrk import LoadFailedError
from bench.stores import DATABASE, shared, store_url
from headrace.domain.events.event import Source, Status
from headrace.domain.ids import first_sequence_at
from tests.support.postgres import aside

POLL_S = 0.05
#: Busy only while a server closes or opens the file.
BUSY_MS = 5_000
#: Counting a large store takes long.
READ_SECONDS_MAX = 600.0


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """Statements that differ between the two kinds of store."""

    #: Events that are not processed. Only a literal lets SQLite use the partial index of those.
    unfinished: str
    #: `(how many, first mark, last mark)` of events after a sequence that are not of a source.
    marks: str
    #: `(sequence, key, received, processed)` after a sequence, of a status and of a source.
    processed: str
    #: How far behind the newest processed event others may still be in progress, in sequences.
    disorder: int = 0


_SQLITE = Dialect(
    unfinished=f"SELECT count(*) FROM events WHERE status <> {Status.PROCESSED:d}",
    marks="SELECT count(*), min(processed_us), max(processed_us) FROM events "
    "WHERE sequence > ? AND source <> ?",
    processed="SELECT sequence, idempotency_key, received_us, processed_us FROM events "
    "WHERE sequence > ? AND status = ? AND source = ? ORDER BY sequence LIMIT 2000",
)
_POSTGRES = Dialect(
    unfinished="SELECT count(*) FROM events e LEFT JOIN event_states o USING (lane, sequence) "
    f"WHERE o.status IS DISTINCT FROM {Status.PROCESSED:d}",
    marks="SELECT count(*), min(processed_us), max(processed_us) "
    "FROM events JOIN event_states USING (lane, sequence) WHERE sequence > ? AND source <> ?",
    processed="SELECT sequence, idempotency_key, received_us, processed_us "
    "FROM events JOIN event_states o USING (lane, sequence) "
    "WHERE sequence > ? AND status = ? AND source = ? ORDER BY sequence LIMIT 2000",
    # Lanes are processed in parallel.
    disorder=first_sequence_at(250_000),
)


class StoreReader:
    """Reads while other processes write; no read lasts longer than its statement."""

    def __init__(self, folder: Path) -> None:
        databases = shared()
        self._shared: Any = None
        if databases is None:
            path = str(folder / DATABASE)
            self._connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
            self._connection.set_busy_timeout(BUSY_MS)
            self.dialect = _SQLITE
        else:
            self._shared = aside(asyncpg.connect(store_url(folder)))
            self.dialect = _POSTGRES

    def close(self) -> None:
        """Close the connection."""
        if self._shared is not None:
            aside(self._shared.close())
        else:
            self._connection.close()

    def rows(self, statement: str, *values: object) -> list[Any]:
        """All rows of a statement with `?` placeholders."""
        if self._shared is not None:
            numbers = itertools.count(1)
            numbered = re.sub(r"\?", lambda _: f"${next(numbers)}", statement)
            return list(aside(self._shared.fetch(numbered, *values), READ_SECONDS_MAX))
        return self._connection.execute(statement, values).fetchall()

    def number(self, statement: str, *values: object) -> int:
        """The one number of a statement; 0 for NULL."""
        return int(self.rows(statement, *values)[0][0] or 0)

    def last_sequence(self) -> int:
        """The newest event's sequence."""
        return self.number("SELECT max(sequence) FROM events")

    def waiting(self) -> int:
        """Events that wait to be processed."""
        return self.number("SELECT count(*) FROM event_queue")

    def wait_until_processed(self, seconds_max: float) -> None:
        """Return once the queue is empty.

        Raises:
            LoadFailedError: it took longer, or an event failed.
        """
        give_up = time.perf_counter() + seconds_max
        while self.number("SELECT EXISTS (SELECT 1 FROM event_queue)"):
            if time.perf_counter() > give_up:
                raise LoadFailedError(f"{self.waiting()} events wait after {seconds_max:.0f} s")
            time.sleep(POLL_S)
        if unfinished := self.number(self.dialect.unfinished):
            raise LoadFailedError(f"{unfinished} events were not processed")

    def processed_per_second(self, after: int) -> tuple[int, float]:
        """Events after sequence `after`: how many, and how many were processed a second."""
        (events, first_us, last_us), *_ = self.rows(self.dialect.marks, after, Source.SYSTEM.value)
        return events, events / max(1, last_us - first_us) * 1e6


@contextmanager
def reading(folder: Path) -> Iterator[StoreReader]:
    """Read the store in `folder` until the block ends."""
    reader = StoreReader(folder)
    try:
        yield reader
    finally:
        reader.close()
