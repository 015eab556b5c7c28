"""The command line: `python -m bench`, or `make bench`."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from bench import machine, results
from bench.options import FULL_BACKLOG_EVENTS, FULL_STORE_EVENTS, Options
from bench.report.page import page
from bench.report.terminal import show
from bench.results import Report, ScenarioResult
from bench.scenario import Scenario
from bench.scenarios import SCENARIOS
from bench.stores import StoreKind, store_described, using

DEFAULT_OUT = Path("build") / "bench"
LOG_COLUMNS = 150


def parse(arguments: Sequence[str]) -> tuple[Options, tuple[Scenario, ...]]:
    """Read the command line: how to measure, and what."""
    known = {scenario.name: scenario for scenario in SCENARIOS}
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Headrace.")
    parser.add_argument("--quick", action="store_true", help="one round of 2 s; not for quoting")
    parser.add_argument(
        "--full", action="store_true", help="10 million events stored, a backlog of 1 million"
    )
    parser.add_argument("--rounds", type=int, help="interleaved rounds (3)")
    parser.add_argument("--seconds", type=int, help="length of one measurement (5)")
    parser.add_argument("--large-store", type=int, metavar="EVENTS", help="size (1 million)")
    parser.add_argument("--backlog", type=int, metavar="EVENTS", help="size (200,000)")
    parser.add_argument("--only", help=f"some of: {','.join(known)}")
    parser.add_argument(
        "--store", type=StoreKind, default=StoreKind.SQLITE, help="sqlite or postgresql (sqlite)"
    )
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder for the results")
    given = parser.parse_args(arguments)
    fitting = [name for name, scenario in known.items() if given.store in scenario.stores]
    names = given.only.split(",") if given.only else fitting
    if unknown := sorted(set(names) - set(known)):
        parser.error(f"no such scenario: {', '.join(unknown)}; known: {', '.join(known)}")
    if unfit := sorted(set(names) - set(fitting)):
        parser.error(f"not over {given.store}: {', '.join(unfit)}")
    if shutil.which("wrk") is None:
        parser.error("wrk is not installed; on Debian: apt-get install wrk")
    options = Options.quick_look(given.out) if given.quick else Options(out=given.out)
    changes: dict[str, Any] = {"rounds": given.rounds, "seconds": given.seconds}
    changes["large_store_events"] = given.large_store or (FULL_STORE_EVENTS if given.full else None)
    changes["backlog_events"] = given.backlog or (FULL_BACKLOG_EVENTS if given.full else None)
    changes["store"] = given.store
    chosen = {name: value for name, value in changes.items() if value is not None}
    if any(isinstance(value, int) and value < 1 for value in chosen.values()):
        parser.error("numbers start at 1")
    return (
        msgspec.structs.replace(options, **chosen),
        tuple(scenario for name, scenario in known.items() if name in names),
    )


def measure(scenario: Scenario, options: Options, console: Console) -> ScenarioResult:
    """Run one scenario and report its progress."""
    console.print(f"[bold]{scenario.title}[/]")
    started = time.perf_counter()
    outcome = scenario.run(options, lambda text: console.print(f"  {text}", highlight=False))
    return ScenarioResult(
        name=scenario.name,
        title=scenario.title,
        method=scenario.method,
        took_s=time.perf_counter() - started,
        outcome=outcome,
    )


def main() -> None:
    """Measure, write results.json and index.html, print the tables."""
    options, scenarios = parse(sys.argv[1:])
    console = Console()
    if not console.is_terminal:
        # Fixed width, so that tables keep their shape in a log.
        console = Console(width=LOG_COLUMNS)
    options.stores.mkdir(parents=True, exist_ok=True)
    if machine.filesystem(options.stores) in machine.VOLATILE_FILESYSTEMS:
        console.print(
            "[red]The results folder is in memory: fsync costs nothing there. Use --out.[/]"
        )
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    described = machine.describe(options.stores)
    with using(options.store, options.stores):
        described |= store_described()
        measured = tuple(measure(scenario, options, console) for scenario in scenarios)
    report = Report(
        started_at=started_at,
        command=shlex.join(["python", "-m", "bench", *sys.argv[1:]]),
        machine=described,
        options=options.described(),
        scenarios=measured,
    )
    (options.out / "results.json").write_bytes(results.encode(report))
    (options.out / "index.html").write_text(page(report), encoding="utf-8")
    show(report, console)
    console.print(f"Written: {options.out / 'results.json'}, {options.out / 'index.html'}")


if __name__ == "__main__":
    main()
