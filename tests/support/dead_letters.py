"""Inserts dead letters as the worker writes them."""

from __future__ import annotations

import itertools
import json
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw

from headrace.domain.events.event import Status
from headrace.domain.ids import id_of_sequence, uuid_text
from tests.support.events import START_US
from tests.support.places import Place, SqlitePlace

RunSql = Callable[..., Sequence[tuple[Any, ...]]]

# Both stores have these columns; only the lane of processing attempts differs.
_INSERT = (
    "INSERT INTO dead_letters (lane, number, id, project_id, sequence, event, kind, "
    "subscriber_id, delivery_number, cause, error, attempts, first_failed_us, dead_lettered_us) "
    "SELECT lane, ?, ?, project_id, sequence, event, ?, ?, ?, ?, ?, ?, ?, ? FROM events "
    "WHERE sequence = ?"
)
_SUBSCRIBER = (
    "INSERT INTO subscribers (id, project_id, kind, target, events, enabled, disabled_reason, "
    "disabled_us, created_us, updated_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_DELIVERY = (
    "INSERT INTO deliveries (lane, number, id, project_id, sequence, subscriber_id, state, "
    "attempt, claims, crashes, due_us, created_us, finished_us, last_error) "
    "SELECT lane, ?, ?, project_id, sequence, ?, 4, ?, ?, 1, ?, ?, ?, ? FROM events "
    "WHERE sequence = ?"
)
_PROCESSING_ATTEMPT = (
    "INSERT INTO processing_attempts ({lane}sequence, number, at_us, duration_us, cause, error) "
    "SELECT {lane}sequence, ?, ?, ?, ?, ? FROM events WHERE sequence = ?"
)
_DELIVERY_ATTEMPT = (
    "INSERT INTO delivery_attempts (lane, delivery_number, number, at_us, duration_us, cause, "
    "error, http_status, excerpt) SELECT lane, ?, ?, ?, ?, ?, ?, ?, ? FROM events "
    "WHERE sequence = ?"
)
_MARK = (
    "UPDATE events SET status = ?, attempts = ?, last_error = ?, processed_us = NULL, "
    "resolution = NULL WHERE sequence = ?"
)
_MARK_OUTCOME = (
    "INSERT INTO event_states (lane, sequence, project_id, status, attempts, last_error) "
    "SELECT lane, sequence, project_id, ?, ?, ? FROM events WHERE sequence = ? "
    "ON CONFLICT (lane, sequence) DO UPDATE SET status = excluded.status, "
    "attempts = excluded.attempts, last_error = excluded.last_error, processed_us = NULL, "
    "resolution = NULL"
)


def sql_on(path: Path) -> RunSql:
    """Runs one statement beside a running server."""

    def run_sql(sql: str, *values: Any) -> Sequence[tuple[Any, ...]]:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(5000)
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()

    return run_sql


def rows_of_server(directory: Path) -> DeadLetterRows:
    """Rows of a running server: new ones, which its retention does not remove."""
    an_hour_ago_us = time.time_ns() // 1000 - 3_600_000_000
    return DeadLetterRows(sql_on(directory / "headrace.db"), start_us=an_hour_ago_us)


def rows_in(place: Place) -> DeadLetterRows:
    """Rows of a store under test."""
    return DeadLetterRows(place.run_sql, lanes=not isinstance(place, SqlitePlace))


class DeadLetterRows:
    """Inserts rows; every time is later than the previous one."""

    def __init__(self, run_sql: RunSql, *, lanes: bool = False, start_us: int = START_US) -> None:
        self.run_sql = run_sql
        self._lanes = lanes
        # The embedded store assigns row numbers itself.
        self._numbers: Iterator[int | None] = (
            itertools.count(1) if lanes else itertools.repeat(None)
        )
        self._times = itertools.count(start_us + 1_000_000, 1_000_000)

    def subscriber(
        self,
        project_id: int,
        *,
        kind: str = "webhook",
        target: str = "https://example.org/hook",
        events: Sequence[str] = ("*",),
        enabled: bool = True,
        at_us: int = 0,
    ) -> str:
        """A subscriber; returns its id."""
        subscriber_id = str(uuid.uuid4())
        created_us = at_us or START_US - next(self._times) % 1_000_000_000
        disabled = (None, None) if enabled else ("switched off", created_us)
        values = (subscriber_id, project_id, kind, target, json.dumps(list(events)), enabled)
        self.run_sql(_SUBSCRIBER, *values, *disabled, created_us, created_us)
        return subscriber_id

    def processing(self, sequence: int, *, cause: str = "StoreRowError", attempts: int = 2) -> str:
        """An event whose processing failed for good; returns the id of its dead letter."""
        self.run_sql("DELETE FROM event_queue WHERE sequence = ?", sequence)
        error = f"{cause}: it would not go"
        times = [next(self._times) for _ in range(attempts)]
        for number, at_us in enumerate(times, 1):
            self._insert(_PROCESSING_ATTEMPT, number, at_us, 1500, cause, error, sequence)
        self.mark(sequence, Status.DEAD_LETTERED, attempts, error)
        return self._dead_letter(
            sequence, "processing", (None, None), (cause, error, attempts, times[0], times[-1])
        )

    def delivery(
        self,
        sequence: int,
        subscriber_id: str,
        *,
        cause: str = "rejected",
        attempts: int = 3,
    ) -> str:
        """A delivery without attempts left; returns the id of its dead letter."""
        at_us = next(self._times)
        error = "the receiver answered 400"
        row = self._insert(
            _DELIVERY + " RETURNING number",
            *(next(self._numbers), str(uuid.uuid4()), subscriber_id, attempts, attempts),
            *(at_us, at_us, at_us, error, sequence),
        )
        number = row[0][0]
        for attempt in range(1, attempts + 1):
            shown = (cause, error, 400, "no <b>thanks</b>")
            self._insert(_DELIVERY_ATTEMPT, number, attempt, at_us, 2500, *shown, sequence)
        values = (cause, error, attempts, at_us, at_us)
        return self._dead_letter(sequence, "delivery", (subscriber_id, number), values)

    def _insert(self, sql: str, *values: Any) -> Sequence[tuple[Any, ...]]:
        return self.run_sql(sql.format(lane="lane, " if self._lanes else ""), *values)

    def _dead_letter(
        self, sequence: int, kind: str, of: tuple[Any, Any], values: tuple[Any, ...]
    ) -> str:
        number = next(self._numbers)
        [[lane]] = self.run_sql("SELECT lane FROM events WHERE sequence = ?", sequence)
        if number is None:
            [[number]] = self.run_sql("SELECT coalesce(max(number), 0) + 1 FROM dead_letters")
        raw = id_of_sequence(number, lane, number)
        self._insert(_INSERT, number, uuid_text(raw), kind, *of, *values, sequence)
        return uuid_text(raw)

    def mark(
        self, sequence: int, status: Status, attempts: int = 0, error: str | None = None
    ) -> None:
        """Set the status of an event."""
        sql = _MARK_OUTCOME if self._lanes else _MARK
        self.run_sql(sql, status.value, attempts, error, sequence)

    def state(self, dead_letter_id: str) -> int:
        """0 open, 1 replayed, 2 discarded."""
        found = self.run_sql("SELECT state FROM dead_letters WHERE id = ?", dead_letter_id)
        return int(found[0][0])

    def waits(self, sequence: int) -> bool:
        """Whether the event is in the queue, with its attempts reset."""
        sql = "SELECT attempt, crashes, owner FROM event_queue WHERE sequence = ?"
        found = self.run_sql(sql, sequence)
        assert found in ([], [(0, 0, None)])
        return bool(found)
