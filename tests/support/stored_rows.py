"""Rows inserted directly into either store, bypassing its contract."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.places import Place

_SQLITE = (
    "SELECT c.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c "
    "WHERE t.name = ? AND t.type = 'table'"
)
_POSTGRES = "SELECT column_name FROM information_schema.columns WHERE table_name = ?"


_found: dict[tuple[str, str], frozenset[str]] = {}


def columns(place: Place, table: str) -> frozenset[str]:
    """Names of the columns of a table; empty when the store has no such table."""
    kind = place.url.partition(":")[0]
    if (kind, table) not in _found:
        rows = place.run_sql(_SQLITE if kind == "sqlite" else _POSTGRES, table)
        _found[kind, table] = frozenset(str(row[0]) for row in rows)
    return _found[kind, table]


def insert(place: Place, table: str, **values: Any) -> None:
    """Insert a row; values for columns that this store's table lacks are left out."""
    held = {name: value for name, value in values.items() if name in columns(place, table)}
    marks = ", ".join("?" * len(held))
    sql = f"INSERT INTO {table} ({', '.join(held)}) VALUES ({marks})"
    place.run_sql(sql, *held.values())


def insert_many(place: Place, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows of the same columns with one statement; does nothing without such a table."""
    held = [name for name in rows[0] if name in columns(place, table)]
    if not held:
        return
    if place.url.startswith("sqlite"):
        values = ", ".join(f"value ->> '{name}'" for name in held)
        source = f"{values} FROM json_each(?)"
    else:
        source = f"{', '.join(held)} FROM json_populate_recordset(NULL::{table}, ?::json)"
    sql = f"INSERT INTO {table} ({', '.join(held)}) SELECT {source}"
    place.run_sql(sql, json.dumps(rows))
