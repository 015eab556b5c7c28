"""Results of a scenario, and the content of results.json."""

from __future__ import annotations

from enum import StrEnum
from statistics import median
from typing import Any

import msgspec


class Verdict(StrEnum):
    """Comparison of a figure with its bar and goal."""

    GOAL = "goal reached"
    BAR = "bar reached"
    MISSED = "bar missed"


class Better(StrEnum):
    """Which direction of a figure is better."""

    HIGHER = "higher"
    LOWER = "lower"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One measured figure: contender (`series`), circumstance (`point`), quantity (`metric`)."""

    series: str
    point: str
    metric: str
    unit: str
    #: One value a round, in the order they were taken.
    rounds: tuple[float, ...]

    @property
    def value(self) -> float:
        """The median of the rounds."""
        return median(self.rounds)


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A figure with a bar to reach and a goal to aim for."""

    what: str
    unit: str
    rounds: tuple[float, ...]
    bar: float
    goal: float
    better: Better

    @property
    def value(self) -> float:
        """The median of the rounds."""
        return median(self.rounds)

    @property
    def verdict(self) -> Verdict:
        """Goal, bar, or neither."""
        for limit, verdict in ((self.goal, Verdict.GOAL), (self.bar, Verdict.BAR)):
            if self.value >= limit if self.better is Better.HIGHER else self.value <= limit:
                return verdict
        return Verdict.MISSED


class Bars(msgspec.Struct, frozen=True, kw_only=True, tag="bars"):
    """Grouped bars; every round is drawn as a dot on its bar."""

    title: str
    unit: str
    groups: tuple[str, ...]
    #: Series name to one tuple of rounds for each group.
    series: dict[str, tuple[tuple[float, ...], ...]]


class Lines(msgspec.Struct, frozen=True, kw_only=True, tag="lines"):
    """Lines over a logarithmic y axis; x is drawn evenly spaced under its labels."""

    title: str
    unit: str
    x_label: str
    x: tuple[str, ...]
    #: Series name to one value for each x, or None where it was not measured.
    series: dict[str, tuple[float | None, ...]]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one scenario."""

    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...] = ()
    charts: tuple[Bars | Lines, ...] = ()
    #: Facts that a reader needs with the figures, a sentence each.
    notes: tuple[str, ...] = ()


class ScenarioResult(msgspec.Struct, frozen=True, kw_only=True):
    """An outcome with the scenario's description."""

    name: str
    title: str
    method: str
    took_s: float
    outcome: Outcome


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One whole run."""

    started_at: str
    command: str
    machine: dict[str, str]
    options: dict[str, Any]
    scenarios: tuple[ScenarioResult, ...]


def ratios(measured: Row, reference: Row) -> tuple[float, ...]:
    """Divide round by round: both values of a pair were measured within seconds of each other."""
    return tuple(a / b for a, b in zip(measured.rounds, reference.rounds, strict=True))


def encode(report: Report) -> bytes:
    """Return the text of results.json, with the medians and verdicts written out."""
    plain: dict[str, Any] = msgspec.to_builtins(report)
    for scenario, kept in zip(report.scenarios, plain["scenarios"], strict=True):
        outcome = kept["outcome"]
        for row, row_kept in zip(scenario.outcome.rows, outcome["rows"], strict=True):
            row_kept["median"] = row.value
        pairs = zip(scenario.outcome.comparisons, outcome["comparisons"], strict=True)
        for comparison, comparison_kept in pairs:
            comparison_kept["median"] = comparison.value
            comparison_kept["verdict"] = comparison.verdict
    return msgspec.json.format(msgspec.json.encode(plain), indent=2)
