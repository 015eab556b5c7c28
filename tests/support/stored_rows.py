"""Rows put into a store past its contract, whichever store it is."""

from __future__ import annotations

import functools
from typing import Any

from tests.store.places import Place

_SQLITE = "SELECT name FROM pragma_table_info(?)"
_POSTGRES = "SELECT column_name FROM information_schema.columns WHERE table_name = ?"


@functools.cache
def _columns(kind: str, table: str, place: Place) -> frozenset[str]:
    sql = _SQLITE if kind == "sqlite" else _POSTGRES
    return frozenset(str(row[0]) for row in place.run_sql(sql, table))


def columns(place: Place, table: str) -> frozenset[str]:
    """Names of the columns of a table; empty when the store has no such table."""
    return _columns(place.url.partition(":")[0], table, place)


def insert(place: Place, table: str, **values: Any) -> None:
    """Insert a row; values of columns that this store's table has not are left out."""
    held = {name: value for name, value in values.items() if name in columns(place, table)}
    marks = ", ".join("?" * len(held))
    sql = f"INSERT INTO {table} ({', '.join(held)}) VALUES ({marks})"  # noqa: S608
    place.run_sql(sql, *held.values())
