"""Rollups of a time span, grouped into the slots of a plot. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from headrace.domain.upkeep.rollups import DAY_S, HOUR_S, MINUTE_S, Tally, percentile_us
from headrace.store.contract.rollups import RollupRow


class Span(msgspec.Struct, frozen=True):
    """A time span to show."""

    name: str
    words: str
    #: Grain of the rows to read, and how many rows make a slot.
    grain_s: int
    per_slot: int
    slots: int
    #: Grain for subscribers: coarser, since they have many rows.
    subscribers_grain_s: int

    @property
    def slot_s(self) -> int:
        """Seconds of a slot."""
        return self.grain_s * self.per_slot

    @property
    def slot_words(self) -> str:
        """Length of a slot."""
        return next(
            f"{self.slot_s // size} {unit}" if self.slot_s > size else f"1 {unit}"
            for size, unit in ((HOUR_S, "h"), (MINUTE_S, "min"))
            if self.slot_s >= size
        )


SPANS = {
    span.name: span
    for span in (
        Span("hour", "last hour", MINUTE_S, 1, 60, MINUTE_S),
        Span("day", "last day", MINUTE_S, 15, 96, HOUR_S),
        Span("month", "last 30 days", HOUR_S, 6, 120, DAY_S),
    )
}


class Window(msgspec.Struct, frozen=True):
    """A span that ends now."""

    span: Span
    #: First and last row, in grains since 1970; the last one is still open.
    first: int
    last: int

    def time_of(self, slot: int) -> datetime:
        """Start of a slot, in UTC."""
        at_s = (self.first + slot * self.span.per_slot) * self.span.grain_s
        return datetime.fromtimestamp(at_s, UTC)

    @property
    def of_subscribers(self) -> tuple[int, int, int]:
        """Grain, first and last row of subscriber data."""
        grain_s = self.span.subscribers_grain_s
        first_s = self.first * self.span.grain_s
        return grain_s, first_s // grain_s, self.last * self.span.grain_s // grain_s

    @property
    def labels(self) -> list[str]:
        """Start of each slot as text, for the table of numbers."""
        pattern = "%H:%M" if self.span.slots * self.span.slot_s <= DAY_S else "%d %b %H:%M"
        return [self.time_of(slot).strftime(pattern) for slot in range(self.span.slots)]


def window_of(span: Span, now_us: int) -> Window:
    """The slots of a span; the last contains the present."""
    slot = now_us // 1_000_000 // span.slot_s
    first = (slot - span.slots + 1) * span.per_slot
    return Window(span, first, (slot + 1) * span.per_slot - 1)


def slots_of(window: Window, rows: Iterable[RollupRow]) -> list[Tally]:
    """Sums by slot, empty ones included."""
    slots = [Tally() for _ in range(window.span.slots)]
    for row in rows:
        index = (row.at - window.first) // window.span.per_slot
        if 0 <= index < len(slots):
            slots[index].add(row.tally)
    return slots


def total_of(tallies: Iterable[Tally]) -> Tally:
    """Sum of all."""
    total = Tally()
    for tally in tallies:
        total.add(tally)
    return total


SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def percentiles(histograms: Sequence[Sequence[int] | None]) -> dict[str, list[float | None]]:
    """p50, p95 and p99 of each slot in microseconds, None where nothing was measured."""
    return {
        name: [percentile_us(histogram, share) for histogram in histograms]
        for name, share in SHARES.items()
    }
