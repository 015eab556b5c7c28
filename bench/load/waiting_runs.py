"""Puts very many waiting runs of automations into a store, as copies of one."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import apsw
import asyncpg

from bench.load.wrk import LoadFailedError
from bench.store_reader import StoreReader
from bench.stores import DATABASE, shared, store_url
from headrace.domain.messages.places import lane_of_uuid
from tests.support.postgres import aside

TABLE = "automation_runs"
COLUMNS = [
    *("lane", "id", "project_id", "automation_id", "version", "contact_id", "entry_key"),
    *("event_lane", "sequence", "status", "reason", "outcome", "at_step", "state", "due_us"),
    *("attempt", "error", "notes", "started_us", "finished_us"),
]
ROWS_A_COMMIT = 20_000
SECONDS_MAX = 600.0


def contacts_of(reader: StoreReader, limit: int) -> list[str]:
    """Ids of contacts of the store."""
    return [row[0] for row in reader.rows("SELECT id FROM contacts ORDER BY id LIMIT ?", limit)]


def copy_run(
    folder: Path, reader: StoreReader, contacts: Sequence[str], due_us: Callable[[int], int]
) -> None:
    """Copy the only run of the store, which waits, to each of these contacts.

    No process may work on the store.

    Args:
        due_us: when the timer of the n-th copy is due.

    Raises:
        LoadFailedError: the store has not exactly one waiting run.
    """
    rows = reader.rows(f"SELECT {', '.join(COLUMNS)} FROM {TABLE}")
    if len(rows) != 1 or rows[0][COLUMNS.index("status")] != "waiting":
        raise LoadFailedError(f"{len(rows)} runs to copy")
    _insert(folder, _copies(dict(zip(COLUMNS, rows[0], strict=True)), contacts, due_us))


def _copies(
    run: dict[str, Any], contacts: Sequence[str], due_us: Callable[[int], int]
) -> Iterator[tuple[Any, ...]]:
    was = f'"due_us":{run["due_us"]}'
    for number, contact in enumerate(contacts):
        run_id, due = str(uuid.uuid4()), due_us(number)
        state = run["state"].replace(run["id"], run_id).replace(was, f'"due_us":{due}')
        copy = run | {
            "lane": lane_of_uuid(run_id),
            "id": run_id,
            "contact_id": contact,
            "state": state,
            "due_us": due,
        }
        yield tuple(copy[name] for name in COLUMNS)


def _insert(folder: Path, rows: Iterator[tuple[Any, ...]]) -> None:
    if shared() is not None:
        aside(_copy(store_url(folder), rows), SECONDS_MAX)
        return
    connection = apsw.Connection(str(folder / DATABASE), flags=apsw.SQLITE_OPEN_READWRITE)
    marks = ", ".join("?" * len(COLUMNS))
    insert = f"INSERT INTO {TABLE} ({', '.join(COLUMNS)}) VALUES ({marks})"
    try:
        while part := list(islice(rows, ROWS_A_COMMIT)):
            with connection:
                connection.executemany(insert, part)
    finally:
        connection.close()


async def _copy(url: str, rows: Iterator[tuple[Any, ...]]) -> None:
    connection = await asyncpg.connect(url)
    try:
        while part := list(islice(rows, ROWS_A_COMMIT)):
            await connection.copy_records_to_table(TABLE, records=part, columns=COLUMNS)
        await connection.execute(f"ANALYZE {TABLE}")
    finally:
        await connection.close()
