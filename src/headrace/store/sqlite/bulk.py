"""Inserts of many rows by few statements.

The statements insert many rows each (`VALUES (…), (…), …`): one call of the library per 64 rows
instead of one per row. That matters less for SQLite than for Python: the library gives up the
interpreter lock once per call, and taking it back waits for the thread that serves requests.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import apsw

#: A batch is cut into pieces of these sizes, so that few statements stay prepared. 64 rows of 17
#: values keep the text below the 16 KiB up to which the library caches statements.
_PIECES = (64, 32, 16, 8, 4, 2, 1)


class BulkInsert:
    """One prepared form of an insert.

    Args:
        head: the statement up to VALUES.
        width: values per row.
        tail: what follows the rows, such as a conflict clause.
    """

    def __init__(self, head: str, width: int, tail: str = "") -> None:
        row = "(" + ",".join("?" * width) + ")"
        self._statements = {n: f"{head} VALUES {','.join([row] * n)}{tail}" for n in _PIECES}

    def run(self, connection: apsw.Connection, rows: Iterable[tuple[Any, ...]], count: int) -> None:
        """Insert the first `count` of `rows`."""
        remaining = iter(rows)
        for size in _PIECES:
            statement = self._statements[size]
            while count >= size:
                values: list[Any] = []
                for _ in range(size):
                    values += next(remaining)
                connection.execute(statement, values)
                count -= size
