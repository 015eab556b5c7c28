"""Rows that nothing reads before the end of their transaction, written there together."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from headrace.store.engine.dialect import Statement
from headrace.store.engine.transaction import Row, Transaction


class LaterWrites:
    """Rows of one transaction, by the statement that writes each of them."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._rows: dict[Statement, list[Row]] = defaultdict(list)

    def add(self, statement: Statement, *values: Any) -> None:
        """Run a statement with these values at the end of the transaction."""
        self._rows[statement].append(values)

    async def write(self) -> None:
        """Run each statement once for all its rows."""
        for statement, rows in self._rows.items():
            await self._tx.run_many(statement, rows)
        self._rows.clear()
