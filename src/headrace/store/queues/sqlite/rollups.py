"""Adds to the counters by minute, hour and day in the embedded store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import apsw
import msgspec

from headrace.domain.upkeep.rollups import Tally
from headrace.store.contract.rollups import Counted
from headrace.store.engine.sqlite.transaction import SqliteTransaction
from headrace.store.engine.transaction import Transaction
from headrace.store.upkeep.rollup_counts import by_grain

_COLUMNS = "counts, accept, processing, delivery"
_ONE = (
    f"SELECT {_COLUMNS} FROM rollups WHERE project_id = ? AND grain = ? AND at = ? AND subject = ?"
)
_PUT = (
    "INSERT INTO rollups (project_id, grain, at, subject, counts, accept, processing, delivery) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (project_id, grain, at, subject) DO UPDATE SET "
    "counts = excluded.counts, accept = excluded.accept, processing = excluded.processing, "
    "delivery = excluded.delivery"
)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[int]).decode


def add_rollups(connection: apsw.Connection, counted: Iterable[Counted]) -> None:
    """Add to the rows of minute, hour and day; runs inside the caller's transaction."""
    rows: list[tuple[Any, ...]] = []
    for key, tally in by_grain(counted).items():
        held: Any = connection.execute(_ONE, key).fetchone()
        if held is not None:
            tally.add(_tally(held))
        rows.append((*key, *(_text(column) for column in _columns(tally))))
    connection.executemany(_PUT, rows)


def _columns(tally: Tally) -> tuple[list[int] | None, ...]:
    return tally.counts, tally.accept, tally.processing, tally.delivery


def _text(column: list[int] | None) -> str | None:
    return None if column is None else _encode(column).decode()


def _tally(columns: Sequence[str | None]) -> Tally:
    return Tally(*(None if column is None else _decode(column) for column in columns))  # type: ignore[arg-type]


class SqliteRollupWrites:
    """See `headrace.store.upkeep.rollups.RollupWrites`."""

    async def add(self, tx: Transaction, counted: Iterable[Counted]) -> None:
        assert isinstance(tx, SqliteTransaction)
        add_rollups(tx.connection, counted)
