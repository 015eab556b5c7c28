"""Writes the figures of a run into README.md, between two marks: `make figures`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from bench.report import numbers
from bench.results import Report, Row

RESULTS = Path("build") / "bench" / "results.json"
README = Path("README.md")
START, END = "<!-- figures", "<!-- /figures -->"
#: Facts about the machine that a reader needs with a figure.
SHOWN = (
    "CPU",
    "cores",
    "memory",
    "filesystem",
    "fdatasync of 64 KiB",
    "Python",
    "SQLite",
    "commit",
)
#: Scenario, series, point, metric, and its name in the table. Left out if absent.
HEADLINES = (
    ("accept", "headrace api", "64 connections", "accepted", "single events accepted, API alone"),
    ("accept", "headrace serve", "64 connections", "accepted", "the same beside a busy worker"),
    (
        "accept",
        "FastAPI + SQLite, by hand",
        "64 connections",
        "accepted",
        "the same, endpoint by hand",
    ),
    (
        "batch",
        "headrace api",
        "100 events a request",
        "stored",
        "events accepted in batches of 100",
    ),
    ("worker", "no worker", "1,000/s", "p99", "accept p99 at 1,000/s, no worker"),
    ("processed", "headrace serve", "1,000/s", "p50", "accept to processed p50 at 1,000/s"),
    ("processed", "headrace serve", "1,000/s", "p99", "accept to processed p99 at 1,000/s"),
    ("deliveries", "headrace worker", "1 subscriber", "delivered", "deliveries to one webhook"),
    ("deliveries", "headrace worker", "10 subscribers", "delivered", "deliveries to ten webhooks"),
)


class NotWrittenError(RuntimeError):
    """The README was not changed."""


def figures(report: Report) -> str:
    """The text between the marks.

    Raises:
        NotWrittenError: the run was a quick one, which is not for quoting.
    """
    if report.options.get("quick"):
        raise NotWrittenError("a --quick run is not for quoting")
    machine = ", ".join(
        f"{name} {report.machine[name]}" for name in SHOWN if report.machine.get(name)
    )
    lines = [
        f"Taken {report.started_at[:10]} by `{report.command}` on this machine: {machine}.",
        "Load generator, servers and baselines share it. Medians of the rounds; fsync on,",
        "authenticated, all checks on.",
        "",
        "| figure | median |",
        "| --- | ---: |",
        *_headlines(report),
        "",
        "| against bar and goal | median | bar | goal | |",
        "| --- | ---: | ---: | ---: | --- |",
        *_comparisons(report),
    ]
    return "\n".join(lines)


def merged(reports: Sequence[Report]) -> Report:
    """Combine several runs on one machine into a report: the last of each scenario."""
    scenarios = {each.name: each for report in reports for each in report.scenarios}
    return msgspec.structs.replace(
        reports[-1],
        command="`, then `".join(report.command for report in reports),
        options={**reports[-1].options, "quick": any(r.options.get("quick") for r in reports)},
        scenarios=list(scenarios.values()),
    )


def _headlines(report: Report) -> Iterator[str]:
    rows = {
        (scenario.name, row.series, row.point, row.metric): row
        for scenario in report.scenarios
        for row in scenario.outcome.rows
    }
    for *key, label in HEADLINES:
        row: Row | None = rows.get((key[0], key[1], key[2], key[3]))
        if row is not None:
            unit = "events/s" if row.unit == "1/s" else row.unit
            yield f"| {label} | {numbers.with_unit(row.value, unit)} |"


def _comparisons(report: Report) -> Iterator[str]:
    for scenario in report.scenarios:
        for it in scenario.outcome.comparisons:
            cells = (
                it.what,
                numbers.with_unit(it.value, it.unit),
                numbers.limit(it, it.bar),
                numbers.limit(it, it.goal),
                it.verdict.value,
            )
            yield f"| {' | '.join(cells)} |"


def with_figures(readme: str, text: str) -> str:
    """Return the README with `text` between its marks, which stay.

    Raises:
        NotWrittenError: it has no marks.
    """
    before, start, rest = readme.partition(START)
    mark, _, rest = rest.partition("\n")
    _, end, after = rest.partition(END)
    if not start or not end:
        raise NotWrittenError(f"no {START} and {END} in the README")
    return f"{before}{start}{mark}\n{text}\n{end}{after}"


def main() -> None:
    """Read the results and write the README."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument(
        "--results",
        type=Path,
        action="append",
        help="may be given again: its scenarios replace those of the ones before",
    )
    parser.add_argument("--readme", type=Path, default=README)
    given = parser.parse_args()
    paths = given.results or [RESULTS]
    for path in paths:
        if not path.exists():
            parser.error(f"{path} is not there; run: make bench")
    report = merged([msgspec.json.decode(path.read_bytes(), type=Report) for path in paths])
    try:
        text = with_figures(given.readme.read_text("utf-8"), figures(report))
    except NotWrittenError as error:
        parser.error(str(error))
    given.readme.write_text(text, "utf-8")
    print(f"Written: {given.readme}")


if __name__ == "__main__":
    main()
