"""Counters by minute, hour and day: written in the counted transactions, read by the overview."""

from __future__ import annotations

import msgspec

from headrace.domain.upkeep.rollups import Tally

#: Subscribers for which one read returns a row each.
SUBSCRIBERS_MAX = 1_000


class Counted(msgspec.Struct, frozen=True):
    """Counts of a project at a time."""

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
