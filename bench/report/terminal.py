"""The tables that a run prints."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from bench.report.numbers import figure, limit, spread, with_unit
from bench.results import Report, ScenarioResult, Verdict

STYLES = {Verdict.GOAL: "green", Verdict.BAR: "yellow", Verdict.MISSED: "red"}


def show(report: Report, console: Console) -> None:
    """Print the medians of every scenario, then compare them with bars and goals."""
    for scenario in report.scenarios:
        console.print(_medians(scenario))
        for note in scenario.outcome.notes:
            console.print(note)
    console.print(_standing(report))
    if report.options["quick"]:
        console.print("One short round: these figures show that it runs, no more.")


def _medians(scenario: ScenarioResult) -> Table:
    """One line for each contender and circumstance, one column for each metric."""
    rows = scenario.outcome.rows
    metrics = {row.metric: row.unit for row in rows}
    table = Table(title=f"{scenario.title} (medians)", title_justify="left")
    table.add_column("who")
    table.add_column("under")
    for metric, unit in metrics.items():
        table.add_column(f"{metric}\n{unit}", justify="right")
    for series, point in dict.fromkeys((row.series, row.point) for row in rows):
        values = {
            row.metric: row.value for row in rows if (row.series, row.point) == (series, point)
        }
        cells = (figure(values[metric]) if metric in values else "" for metric in metrics)
        table.add_row(series, point, *cells)
    return table


def _standing(report: Report) -> Table:
    table = Table(title="Against bars and goals", title_justify="left")
    table.add_column("what")
    for heading in ("median", "rounds", "bar", "goal"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for scenario in report.scenarios:
        for comparison in scenario.outcome.comparisons:
            verdict = comparison.verdict
            table.add_row(
                comparison.what,
                with_unit(comparison.value, comparison.unit),
                spread(comparison.rounds),
                limit(comparison, comparison.bar),
                limit(comparison, comparison.goal),
                f"[{STYLES[verdict]}]{verdict}[/]",
            )
    return table
