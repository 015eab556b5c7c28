"""Inserts of many rows with one statement.

`VALUES (…), (…), …` makes a whole batch one call of the library. That matters less for SQLite than
for Python: the library releases the interpreter lock once per call, and reacquiring it waits for
the thread that serves requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import apsw

#: A statement is prepared once for each of these numbers of rows. Small batches match a size
#: exactly and take one statement; larger ones take a few. The text of the largest, with 17 values a
#: row, stays below the 16 KiB up to which the library keeps statements prepared.
SIZES = (*range(1, 65), 96, 128, 192, 256, 384)
_LARGE = tuple(size for size in reversed(SIZES) if size > 64)


class BulkInsert:
    """One form of an insert, for any number of rows.

    Args:
        head: the statement up to VALUES.
        width: values per row.
        tail: SQL after the rows, such as a conflict clause.
    """

    sizes = frozenset(SIZES)

    def __init__(self, head: str, width: int, tail: str = "") -> None:
        self._head = head
        self._row = "(" + ",".join("?" * width) + ")"
        self._tail = tail
        self._statements: dict[int, str] = {}

    def run(self, connection: apsw.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert all rows, in as few statements as the sizes allow."""
        start, count = 0, len(rows)
        while count > 64:
            size = next((size for size in _LARGE if size <= count), 64)
            self._run_exactly(connection, rows[start : start + size])
            start, count = start + size, count - size
        if count:
            self._run_exactly(connection, rows[start:] if start else rows)

    def _run_exactly(self, connection: apsw.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        statement = self._statements.get(len(rows))
        if statement is None:
            values = ",".join([self._row] * len(rows))
            statement = self._statements[len(rows)] = f"{self._head} VALUES {values}{self._tail}"
        connection.execute(statement, tuple(chain.from_iterable(rows)))
