"""The tables that a run prints."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from bench.report.numbers import limit, spread, with_unit
from bench.results import Report, Verdict

STYLES = {Verdict.GOAL: "green", Verdict.BAR: "yellow", Verdict.MISSED: "red"}


def show(report: Report, console: Console) -> None:
    """Print every figure, then how they stand against bars and goals."""
    for scenario in report.scenarios:
        table = Table(title=scenario.title, title_justify="left")
        for heading in ("who", "under", "what"):
            table.add_column(heading)
        table.add_column("median", justify="right")
        table.add_column("rounds", justify="right")
        for row in scenario.outcome.rows:
            value = with_unit(row.value, row.unit)
            table.add_row(row.series, row.point, row.metric, value, spread(row.rounds))
        console.print(table)
        for note in scenario.outcome.notes:
            console.print(note)
    console.print(_standing(report))
    if report.options["quick"]:
        console.print("One short round: these figures show that it runs, no more.")


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
