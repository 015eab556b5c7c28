"""Does the queue keep its speed while a snapshot is open?"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import asyncpg

from bench import contenders
from bench.collector import Collector
from bench.contenders import fresh_folder
from bench.headrace_server import working
from bench.load.fill import anybody, everybody, fill
from bench.options import Options
from bench.results import Bars, Better, Comparison, Outcome, ratios
from bench.scenario import Progress, Scenario
from bench.store_reader import reading
from bench.stores import StoreKind, store_url
from tests.support.postgres import aside

PEOPLE = 50_000
FREE, HELD = "nobody holds one", "a snapshot is held"
SERIES = (FREE, HELD)
#: Backlogs in sequence; dead rows of the first slow down the last.
BACKLOGS = ("first backlog", "second backlog", "third backlog")
PROCESSED = "processed"
#: Draining is abandoned below this speed.
EVENTS_PER_SECOND_MIN = 500
START_S = 30


def run(options: Options, progress: Progress) -> Outcome:
    """In every round the same backlogs on two stores, with an open snapshot on one of them."""
    figures = Collector()
    for number in range(1, options.rounds + 1):
        for series in SERIES:
            with fresh_folder(options.stores, "snapshot") as folder:
                _measure(series, folder, figures, options)
            speeds = [figures.row(series, point, PROCESSED).rounds[-1] for point in BACKLOGS]
            speeds_text = ", ".join(f"{speed:,.0f}/s" for speed in speeds)
            progress(f"round {number}: {series}: {speeds_text}")
    last = BACKLOGS[-1]
    pair = (figures.row(HELD, last, PROCESSED), figures.row(FREE, last, PROCESSED))
    comparison = Comparison(
        what=f"processing the {last} of {options.backlog_events:,} under a held snapshot, share",
        unit="",
        rounds=ratios(*pair),
        bar=0.8,
        goal=0.95,
        better=Better.HIGHER,
    )
    chart = Bars(
        title="Events that one worker processes a second",
        unit="events/s",
        groups=BACKLOGS,
        series={
            series: tuple(figures.row(series, point, PROCESSED).rounds for point in BACKLOGS)
            for series in SERIES
        },
    )
    return Outcome(rows=figures.rows(), comparisons=(comparison,), charts=(chart,))


def _measure(series: str, folder: Path, figures: Collector, options: Options) -> None:
    backlog = options.backlog_events
    people = min(PEOPLE, backlog)
    _process(folder, everybody(people), people)
    began = time.perf_counter()
    with _snapshot(folder) if series == HELD else nullcontext():
        for point in BACKLOGS:
            speed = _process(folder, anybody(people, backlog), backlog)
            figures.add(series, point, PROCESSED, "events/s", speed)
    figures.add(series, BACKLOGS[-1], "ended after", "s", time.perf_counter() - began)


def _process(folder: Path, users: Iterable[int], events: int) -> float:
    """Accept without a worker, then let one process everything; returns events a second."""
    with contenders.headrace_api(folder) as up, reading(folder) as reader:
        before = reader.last_sequence()
        fill(up.port, up.api_key, users)
    with working(folder), reading(folder) as reader:
        reader.wait_until_processed(START_S + events / EVENTS_PER_SECOND_MIN)
        return reader.processed_per_second(before)[1]


@contextmanager
def _snapshot(folder: Path) -> Iterator[None]:
    """Hold a snapshot, like a long report, until the block ends."""
    connection = aside(asyncpg.connect(store_url(folder)))
    try:
        aside(connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ"))
        aside(connection.fetch("SELECT count(*) FROM meta"))
        yield
    finally:
        aside(connection.close())


SCENARIO = Scenario(
    name="snapshot",
    title="A queue under a held snapshot",
    method=(
        f"Three backlogs of people who are known ({PEOPLE:,} at most) are accepted and then "
        "processed by one headrace worker, one after another on one store: as it is, and while a "
        "transaction holds the snapshot that it took before the first of them, so that no row of "
        "the queue that is gone can be cleaned away."
    ),
    run=run,
    stores=frozenset({StoreKind.POSTGRESQL}),
)
