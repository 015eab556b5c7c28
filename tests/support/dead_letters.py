"""Makes dead letters as the worker leaves them behind, by rows."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apsw

from headrace.domain.events import Status
from tests.store.events import START_US

RunSql = Callable[..., Sequence[tuple[Any, ...]]]

_INSERT = (
    "INSERT INTO dead_letters (id, project_id, sequence, event, kind, subscriber_id, "
    "delivery_number, cause, error, attempts, first_failed_us, dead_lettered_us) "
    "SELECT ?, project_id, sequence, event, ?, ?, ?, ?, ?, ?, ?, ? FROM events WHERE sequence = ?"
)
_SUBSCRIBER = (
    "INSERT INTO subscribers (id, project_id, kind, target, events, enabled, disabled_reason, "
    "disabled_us, created_us, updated_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_DELIVERY = (
    "INSERT INTO deliveries (id, project_id, sequence, subscriber_id, state, attempt, claims, "
    "crashes, due_us, created_us, finished_us, last_error) "
    "SELECT ?, project_id, sequence, ?, 4, ?, ?, 1, ?, ?, ?, ? FROM events WHERE sequence = ? "
    "RETURNING number"
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


class DeadLetterRows:
    """Writes them; every time is later than the one before."""

    def __init__(self, run_sql: RunSql) -> None:
        self.run_sql = run_sql
        self._times = itertools.count(START_US + 1_000_000, 1_000_000)

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
        values = (subscriber_id, project_id, kind, target, json.dumps(list(events)), int(enabled))
        self.run_sql(_SUBSCRIBER, *values, *disabled, created_us, created_us)
        return subscriber_id

    def processing(self, sequence: int, *, cause: str = "StoreRowError", attempts: int = 2) -> str:
        """An event that could not be processed; returns the id of its dead letter."""
        self.run_sql("DELETE FROM work WHERE sequence = ?", sequence)
        error = f"{cause}: it would not go"
        times = [next(self._times) for _ in range(attempts)]
        for number, at_us in enumerate(times, 1):
            self.run_sql(
                "INSERT INTO processing_attempts VALUES (?, ?, ?, ?, ?, ?)",
                *(sequence, number, at_us, 1500, cause, error),
            )
        self.run_sql(
            "UPDATE events SET status = ?, attempts = ?, last_error = ?, processed_us = NULL, "
            "resolution = NULL WHERE sequence = ?",
            *(Status.DEAD_LETTERED.value, attempts, error, sequence),
        )
        return self._insert(
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
        """A delivery whose attempts are used up; returns the id of its dead letter."""
        at_us = next(self._times)
        error = "the receiver answered 400"
        row = self.run_sql(
            _DELIVERY,
            *(str(uuid.uuid4()), subscriber_id, attempts, attempts, at_us, at_us, at_us, error),
            sequence,
        )
        number = row[0][0]
        for attempt in range(1, attempts + 1):
            self.run_sql(
                "INSERT INTO delivery_attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                *(number, attempt, at_us, 2500, cause, error, 400, "no <b>thanks</b>"),
            )
        values = (cause, error, attempts, at_us, at_us)
        return self._insert(sequence, "delivery", (subscriber_id, number), values)

    def _insert(
        self, sequence: int, kind: str, of: tuple[Any, Any], values: tuple[Any, ...]
    ) -> str:
        dead_letter_id = str(uuid.uuid4())
        self.run_sql(_INSERT, dead_letter_id, kind, *of, *values, sequence)
        return dead_letter_id

    def state(self, dead_letter_id: str) -> int:
        """0 open, 1 replayed, 2 discarded."""
        found = self.run_sql("SELECT state FROM dead_letters WHERE id = ?", dead_letter_id)
        return int(found[0][0])

    def waits(self, sequence: int) -> bool:
        """Whether the event is in line, its attempts counted anew."""
        sql = "SELECT attempt, crashes, lease_until_us, owner FROM work WHERE sequence = ?"
        found = self.run_sql(sql, sequence)
        assert found in ([], [(0, 0, 0, None)])
        return bool(found)
