"""Values of many rows for one statement: `unnest` takes an array for each column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def columns_of(rows: Iterable[Sequence[Any]], width: int) -> list[list[Any]]:
    """Columns of rows that have `width` values each; empty ones when there are no rows."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    return columns or [[] for _ in range(width)]
