"""Collects the rounds of every figure while contenders take turns."""

from __future__ import annotations

from bench.results import Row


class Collector:
    """One list of rounds for each (series, point, metric), in order of first appearance."""

    def __init__(self) -> None:
        self._rounds: dict[tuple[str, str, str, str], list[float]] = {}

    def add(self, series: str, point: str, metric: str, unit: str, value: float) -> None:
        """Keep the value of one round."""
        self._rounds.setdefault((series, point, metric, unit), []).append(value)

    def rows(self) -> tuple[Row, ...]:
        """Return every figure collected so far."""
        return tuple(
            Row(series=series, point=point, metric=metric, unit=unit, rounds=tuple(rounds))
            for (series, point, metric, unit), rounds in self._rounds.items()
        )

    def row(self, series: str, point: str, metric: str) -> Row:
        """Return one figure.

        Raises:
            LookupError: it was not measured.
        """
        for row in self.rows():
            if (row.series, row.point, row.metric) == (series, point, metric):
                return row
        raise LookupError(f"{series}, {point}: {metric} was not measured")

    def series(self) -> tuple[str, ...]:
        """Return the names of the series, in order of first appearance."""
        return tuple(dict.fromkeys(key[0] for key in self._rounds))
