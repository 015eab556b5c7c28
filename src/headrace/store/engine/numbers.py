"""Numbers of rows whose order of creation matters."""

from __future__ import annotations

from typing import Protocol

#: The largest value of a column for numbers and times: above every row, so that a list from there
#: on has them all.
BIGINT_MAX = 2**63 - 1


class RowNumbers(Protocol):
    """Gives numbers in the order of creation."""

    def number(self) -> int | None:
        """A number above all earlier ones; None where the database gives it at the insert."""
        ...


class NumbersByDatabase:
    """For SQLite, where an `AUTOINCREMENT` key gives each row its number."""

    def number(self) -> None:
        return None
