"""Counters by minute, hour and day: written beside what they count, read by the overview."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from headrace.domain.rollups import Tally

#: Subscribers of which a read answers with a row each.
SUBSCRIBERS_MAX = 1_000


class Counted(msgspec.Struct, frozen=True):
    """What happened in a project at a time."""

    project_id: int
    #: A subscriber's id; empty for the project itself.
    subject: str
    at_us: int
    tally: Tally


class RollupRow(msgspec.Struct, frozen=True):
    """One row, or the sum of several of one time."""

    #: Start, in grains since 1970.
    at: int
    subject: str
    tally: Tally


class RollupStore(Protocol):
    """Counters of projects and subscribers."""

    async def add(self, counted: Sequence[Counted]) -> None:
        """Add to the rows of minute, hour and day, in a transaction of its own."""
        ...

    async def read(self, project_id: int, grain_s: int, first: int, last: int) -> list[RollupRow]:
        """Rows of the project itself from `first` to `last`, oldest first.

        Times in which nothing happened are left out.
        """
        ...

    async def subscribers(
        self, project_id: int, grain_s: int, first: int, last: int
    ) -> list[RollupRow]:
        """One row a subscriber, summed over the time; at most `SUBSCRIBERS_MAX`."""
        ...

    async def prune(self, now_us: int, limit: int) -> int:
        """Remove up to `limit` rows of each grain that are kept no longer; how many went."""
        ...
