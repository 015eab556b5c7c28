"""Does it slow down as the store grows?"""

from __future__ import annotations

from pathlib import Path

from bench import contenders
from bench.collector import Collector
from bench.contenders import fresh_folder
from bench.load import template, wrk
from bench.load.large import drain, fill_large
from bench.load.template import WRK_PEOPLE
from bench.options import Options
from bench.results import Bars, Better, Comparison, Outcome, ratios
from bench.scenario import Progress, Scenario
from bench.store_reader import reading
from bench.stores import StoreKind

CONNECTIONS = 64
BATCH_CONNECTIONS = 8
EVENTS_A_BATCH = 100
SERIES = contenders.API.name
EMPTY = "empty store"
SINGLE, BATCH = "single events", f"batches of {EVENTS_A_BATCH}"
PROCESSED = "processed by a worker"
METRICS = (SINGLE, BATCH, PROCESSED)


def run(options: Options, progress: Progress) -> Outcome:
    """Fill one store through the batch API, then take turns between it and new ones."""
    figures = Collector()
    large = f"{options.large_store_events:,} events stored"
    with fresh_folder(options.stores, "large") as large_folder:
        fill_large(large_folder, options.large_store_events, progress)
        for number in range(1, options.rounds + 1):
            with fresh_folder(options.stores, "empty") as empty_folder:
                fill_large(empty_folder, WRK_PEOPLE, lambda _: None)
                _measure(EMPTY, empty_folder, figures, options)
            _measure(large, large_folder, figures, options)
            progress(f"round {number}: {_summary(figures, large)}")
    return Outcome(
        rows=figures.rows(),
        comparisons=tuple(_comparison(figures, large, metric) for metric in METRICS),
        charts=(_chart(figures, large),),
    )


def _measure(point: str, folder: Path, figures: Collector, options: Options) -> None:
    """Accept without a worker, then let a worker process what was accepted."""
    with contenders.headrace_api(folder) as up, reading(folder) as reader:
        before = reader.last_sequence()
        figures.add(SERIES, point, "ready after", "s", up.server.ready_after_s)
        request = template.single(up.port, up.api_key)
        batch = template.batch(up.port, up.api_key, EVENTS_A_BATCH)
        _press(request, up.port, CONNECTIONS, options.warmup_s, folder)
        singles = _press(request, up.port, CONNECTIONS, options.seconds, folder)
        figures.add(SERIES, point, SINGLE, "events/s", singles.per_second)
        batches = _press(batch, up.port, BATCH_CONNECTIONS, options.seconds, folder)
        figures.add(SERIES, point, BATCH, "events/s", batches.per_second * EVENTS_A_BATCH)
    with reading(folder) as reader:
        drain(folder, reader.waiting())
        _, speed = reader.processed_per_second(before)
    figures.add(SERIES, point, PROCESSED, "events/s", speed)


def _press(
    request: template.Template, port: int, connections: int, seconds: int, folder: Path
) -> wrk.Load:
    return wrk.press(request, port=port, connections=connections, seconds=seconds, work=folder)


def _summary(figures: Collector, large: str) -> str:
    parts = (
        f"{point}: {figures.row(SERIES, point, metric).rounds[-1]:,.0f}/s in {metric}"
        for point in (EMPTY, large)
        for metric in METRICS
    )
    return ", ".join(parts)


def _comparison(figures: Collector, large: str, metric: str) -> Comparison:
    return Comparison(
        what=f"{metric} with {large}, share of the empty store's",
        unit="",
        rounds=ratios(figures.row(SERIES, large, metric), figures.row(SERIES, EMPTY, metric)),
        bar=0.9,
        goal=0.97,
        better=Better.HIGHER,
    )


def _chart(figures: Collector, large: str) -> Bars:
    return Bars(
        title="Events a second, empty and large store",
        unit="events/s",
        groups=METRICS,
        series={
            point: tuple(figures.row(SERIES, point, kind).rounds for kind in METRICS)
            for point in (EMPTY, large)
        },
    )


SCENARIO = Scenario(
    name="large-store",
    title="A large store against an empty one",
    method=(
        f"One store is filled through the batch API with events of {WRK_PEOPLE:,} people and "
        "processed; on SQLite all but the first of each are copies with keys of their own, written "
        "by SQL as the worker would leave them. Then in turns on that store and on one that holds "
        "a single event of each person: headrace api is loaded by wrk, single events over "
        f"{CONNECTIONS} connections, then batches of {EVENTS_A_BATCH} over {BATCH_CONNECTIONS}; "
        "after that one headrace worker processes what was accepted. Keys and people are random, "
        "so every index is "
        "written all over."
    ),
    run=run,
    stores=frozenset(StoreKind),
)
