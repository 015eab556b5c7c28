"""What does it cost an accept that a worker shares the machine and the store?"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from bench import contenders
from bench.collector import Collector
from bench.contenders import Running, fresh_folder
from bench.load import template
from bench.load.fill import anybody, everybody, fill
from bench.load.fixed_rate import at_rate
from bench.load.open_loop import People
from bench.load.wrk import LoadFailedError
from bench.options import Options
from bench.results import Bars, Better, Comparison, Outcome
from bench.scenario import Progress, Scenario
from bench.store_reader import reading
from bench.stores import StoreKind

RATE = 1_000
POINT = f"{RATE:,}/s"
PEOPLE = 20_000
#: Enough that a worker that uses two cores does not finish before the load ends.
BACKLOG_PER_SECOND = 20_000
PERCENTILES = {50.0: "p50", 95.0: "p95", 99.0: "p99", 99.9: "p99.9", 100.0: "max"}
P99 = PERCENTILES[99.0]
IDLE, BUSY, BACKLOG = "no worker", "worker busy with what arrives", "worker busy with a backlog"
START: dict[str, Callable[[Path], AbstractContextManager[Running]]] = {
    IDLE: contenders.headrace_api,
    BUSY: contenders.headrace_serve,
    BACKLOG: contenders.headrace_serve,
}


def run(options: Options, progress: Progress) -> Outcome:
    """The same load in turns: without a worker, with one, with one that has a backlog."""
    figures = Collector()
    for number in range(1, options.rounds + 1):
        for series in START:
            _measure(series, figures, options)
            took = figures.row(series, POINT, P99).rounds[-1]
            progress(f"round {number}: {series}: p99 {took:.2f} ms")
    return Outcome(
        rows=figures.rows(), comparisons=_comparisons(figures), charts=(_chart(figures),)
    )


def _measure(series: str, figures: Collector, options: Options) -> None:
    with fresh_folder(options.stores, "worker") as folder:
        backlog = BACKLOG_PER_SECOND * (options.seconds + options.warmup_s)
        with contenders.headrace_serve(folder) as up, reading(folder) as reader:
            fill(up.port, up.api_key, everybody(PEOPLE))
            reader.wait_until_processed(60)
        if series == BACKLOG:
            with contenders.headrace_api(folder) as up:
                fill(up.port, up.api_key, anybody(PEOPLE, backlog))
        with START[series](folder) as up, reading(folder) as reader:
            latency = at_rate(
                template.single(up.port, up.api_key),
                port=up.port,
                rate=RATE,
                seconds=options.seconds,
                warmup_s=options.warmup_s,
                work=folder,
                people=People(known=PEOPLE),
            )
            waiting = reader.waiting()
        if series == BACKLOG and not waiting:
            raise LoadFailedError("the backlog was drained before the load ended")
    for percentile, took_us in latency.percentiles:
        if percentile in PERCENTILES:
            figures.add(series, POINT, PERCENTILES[percentile], "ms", took_us / 1e3)
    figures.add(series, POINT, "waiting at the end", "events", waiting)


def _comparisons(figures: Collector) -> tuple[Comparison, ...]:
    return tuple(
        Comparison(
            what=f"accept p99 at {RATE:,} requests/s, {series}",
            unit="ms",
            rounds=figures.row(series, POINT, P99).rounds,
            bar=20,
            goal=5,
            better=Better.LOWER,
        )
        for series in (BUSY, BACKLOG)
    )


def _chart(figures: Collector) -> Bars:
    groups = tuple(PERCENTILES.values())
    return Bars(
        title=f"Accept latency at {RATE:,} requests a second",
        unit="ms",
        groups=groups,
        series={
            series: tuple(figures.row(series, POINT, metric).rounds for metric in groups)
            for series in figures.series()
        },
    )


SCENARIO = Scenario(
    name="worker",
    title="Accepting beside a worker",
    method=(
        f"The open-loop generator sends {RATE:,} events a second of {PEOPLE:,} known people to "
        "headrace api, where nothing processes them; to headrace serve, whose worker processes "
        f"what arrives; and to headrace serve on a store with {BACKLOG_PER_SECOND:,} waiting "
        "events for every second of the load, so that its worker is never idle."
    ),
    run=run,
    stores=frozenset(StoreKind),
)
