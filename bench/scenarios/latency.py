"""How long does one event take when the load does not wait for the server?"""

from __future__ import annotations

from bench import contenders
from bench.collector import Collector
from bench.contenders import Contender, fresh_folder
from bench.load import template
from bench.load.fixed_rate import at_rate
from bench.load.open_loop import PERCENTILES
from bench.options import Options
from bench.results import Better, Comparison, Lines, Outcome
from bench.scenario import Progress, Scenario
from bench.stores import StoreKind

CONTENDERS = (contenders.SERVE, contenders.ANSWER_ONLY, contenders.FASTAPI_SQLITE)
#: The rate for the bar.
COMPARED_RATE = 1_000
NAMES = {percentile: f"p{percentile:g}" for percentile in PERCENTILES} | {100.0: "max"}


def run(options: Options, progress: Progress) -> Outcome:
    """Give every contender its turn in every round, from the lowest rate to the highest."""
    figures = Collector()
    for number in range(1, options.rounds + 1):
        for contender in CONTENDERS:
            _measure(contender, figures, options)
            for rate in _rates(contender, options):
                row = figures.row(contender.name, _point(rate), NAMES[99.0])
                took = f"p99 {row.rounds[-1]:.2f} ms"
                progress(f"round {number}: {contender.name} at {rate:,}/s: {took}")
    return Outcome(
        rows=figures.rows(),
        comparisons=(_comparison(figures),),
        charts=(_own_chart(figures, options), _p99_chart(figures, options), _curve(figures)),
    )


def _rates(contender: Contender, options: Options) -> tuple[int, ...]:
    """Leave out rates that a contender cannot reach: its queue would only grow."""
    if contender is contenders.FASTAPI_SQLITE:
        return options.baseline_rates
    return options.rates


def _measure(contender: Contender, figures: Collector, options: Options) -> None:
    with fresh_folder(options.stores, "latency") as folder, contender.start(folder) as up:
        request = template.single(up.port, up.api_key)
        for rate in _rates(contender, options):
            latency = at_rate(
                request,
                port=up.port,
                rate=rate,
                seconds=options.seconds,
                warmup_s=options.warmup_s,
                work=folder,
            )
            point = _point(rate)
            for percentile, took_us in latency.percentiles:
                figures.add(contender.name, point, NAMES[percentile], "ms", took_us / 1e3)
            figures.add(contender.name, point, "unanswered", "requests", latency.unanswered)
            figures.add(
                contender.name,
                point,
                "generator late, p99",
                "ms",
                latency.send_lag_p99_us / 1e3,
            )


def _point(rate: int) -> str:
    return f"{rate:,}/s"


def _comparison(figures: Collector) -> Comparison:
    row = figures.row(contenders.SERVE.name, _point(COMPARED_RATE), NAMES[99.0])
    return Comparison(
        what=f"accept p99 at {COMPARED_RATE:,} requests/s, worker running",
        unit="ms",
        rounds=row.rounds,
        bar=5,
        goal=3,
        better=Better.LOWER,
    )


def _own_chart(figures: Collector, options: Options) -> Lines:
    name = contenders.SERVE.name
    shown = (NAMES[50.0], NAMES[99.0], NAMES[99.9], NAMES[100.0])
    points = tuple(_point(rate) for rate in options.rates)
    return Lines(
        title=f"{name}: latency at fixed rates",
        unit="ms",
        x_label="requests a second",
        x=points,
        series={
            metric: tuple(figures.row(name, point, metric).value for point in points)
            for metric in shown
        },
    )


def _p99_chart(figures: Collector, options: Options) -> Lines:
    points = tuple(_point(rate) for rate in options.rates)
    series = {}
    for contender in CONTENDERS:
        measured = {_point(rate) for rate in _rates(contender, options)}
        series[contender.name] = tuple(
            figures.row(contender.name, point, NAMES[99.0]).value if point in measured else None
            for point in points
        )
    return Lines(
        title="99th percentile at fixed rates",
        unit="ms",
        x_label="requests a second",
        x=points,
        series=series,
    )


def _curve(figures: Collector) -> Lines:
    name = contenders.SERVE.name
    point = _point(COMPARED_RATE)
    compared = (name, contenders.ANSWER_ONLY.name)
    return Lines(
        title=f"Latency by percentile at {point}",
        unit="ms",
        x_label="percentile",
        x=tuple(NAMES.values()),
        series={
            series: tuple(figures.row(series, point, metric).value for metric in NAMES.values())
            for series in compared
        },
    )


SCENARIO = Scenario(
    name="latency",
    title="Latency of single events at fixed rates",
    method=(
        "An open-loop generator sends evenly spaced requests over 64 connections whatever the "
        "server does, and measures each from the time it was due: a pause of the server is charged "
        "to everybody who would have waited. How late the generator itself was is listed with the "
        "figures, and the server that only answers shows what generator and loopback add."
    ),
    run=run,
    stores=frozenset(StoreKind),
)
