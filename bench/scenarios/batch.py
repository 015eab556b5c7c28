"""How much of what the database alone can store does a batch of events get?"""

from __future__ import annotations

from pathlib import Path

from bench import contenders
from bench.baselines import raw_copy, raw_insert
from bench.collector import Collector
from bench.commit_metrics import read_commits
from bench.contenders import Contender, fresh_folder
from bench.load import template, wrk
from bench.options import Options
from bench.results import Bars, Better, Comparison, Outcome, ratios
from bench.scenario import Progress, Scenario
from bench.stores import DATABASE, StoreKind, shared, store_url

EVENTS_A_BATCH = 100
CONNECTIONS = 8
#: Rows copied by the ceiling: a second or more of work, and a file as deep as the service's own.
RAW_ROWS_MAX = 200_000
_RAW = {
    StoreKind.SQLITE: "SQLite alone, executemany",
    StoreKind.POSTGRESQL: "PostgreSQL alone, COPY",
}
POINT = f"{EVENTS_A_BATCH} events a request"
POINT_SAME_COMMITS = "as many rows a commit"
STORED = "stored"


def run(options: Options, progress: Progress) -> Outcome:
    """In every round: load the service, then copy its own rows with SQLite alone."""
    figures = Collector()
    raw_name = _RAW[options.store]
    for number in range(1, options.rounds + 1):
        with fresh_folder(options.stores, "batch") as folder:
            rows_per_commit = _measure_service(contenders.API, folder, figures, options)
            _measure_raw(folder, raw_name, figures, rows_per_commit)
        with fresh_folder(options.stores, "batch") as folder:
            _measure_service(contenders.SERVE, folder, figures, options)
        _measure_answering(figures, options)
        speeds = (
            f"{row.series} ({row.point}) {row.rounds[-1]:,.0f}/s"
            for row in figures.rows()
            if row.metric == STORED
        )
        progress(f"round {number}: {', '.join(speeds)}")
    service = figures.row(contenders.API.name, POINT, STORED)
    raw = figures.row(raw_name, POINT_SAME_COMMITS, STORED)
    share = Comparison(
        what=f"batch accept ({EVENTS_A_BATCH} a request), share of {raw_name}",
        unit="",
        rounds=ratios(service, raw),
        bar=0.5,
        goal=0.8,
        better=Better.HIGHER,
    )
    chart = Bars(
        title="Events stored a second, in batches",
        unit="events/s",
        groups=(POINT,),
        series={
            contenders.API.name: (service.rounds,),
            contenders.SERVE.name: (figures.row(contenders.SERVE.name, POINT, STORED).rounds,),
            raw_name: (raw.rounds,),
            contenders.ANSWER_ONLY.name: (
                figures.row(contenders.ANSWER_ONLY.name, POINT, "answered").rounds,
            ),
        },
    )
    return Outcome(rows=figures.rows(), comparisons=(share,), charts=(chart,))


def _measure_service(
    contender: Contender, folder: Path, figures: Collector, options: Options
) -> int:
    """Load the service; return the mean number of events in its commits."""
    name = contender.name
    with contender.start(folder) as up:
        request = template.batch(up.port, up.api_key, EVENTS_A_BATCH)
        warmup = _press(request, up.port, options.warmup_s, folder)
        before, cpu_before_s = read_commits(up.port), up.server.cpu_s()
        load = _press(request, up.port, options.seconds, folder)
        cpu_us = (up.server.cpu_s() - cpu_before_s) * 1e6
        events_each = read_commits(up.port).events_each_since(before)
        up.check_stored((warmup.requests + load.requests) * EVENTS_A_BATCH)
    stored = load.requests * EVENTS_A_BATCH
    figures.add(name, POINT, STORED, "events/s", load.per_second * EVENTS_A_BATCH)
    figures.add(name, POINT, "events a commit", "", events_each)
    figures.add(name, POINT, "request p50", "ms", load.p50_us / 1e3)
    figures.add(name, POINT, "request p99", "ms", load.p99_us / 1e3)
    figures.add(name, POINT, "server CPU an event", "µs", cpu_us / stored)
    return max(1, round(events_each))


def _measure_raw(folder: Path, name: str, figures: Collector, rows_per_commit: int) -> None:
    for point, rows in ((POINT_SAME_COMMITS, rows_per_commit), (POINT, EVENTS_A_BATCH)):
        with fresh_folder(folder, "raw") as target:
            speed = _raw_speed(folder, target, rows)
        figures.add(name, point, STORED, "events/s", speed)


def _raw_speed(folder: Path, target: Path, rows: int) -> float:
    """Events a second of the database alone, with what the service stored in `folder`."""
    if shared() is not None:
        return raw_copy.events_per_second(
            store_url(folder), store_url(target), rows_per_commit=rows, rows_max=RAW_ROWS_MAX
        )
    return raw_insert.events_per_second(
        folder / DATABASE, target / "raw.db", rows_per_commit=rows, rows_max=RAW_ROWS_MAX
    )


def _measure_answering(figures: Collector, options: Options) -> None:
    contender = contenders.ANSWER_ONLY
    with fresh_folder(options.stores, "batch") as folder, contender.start(folder) as up:
        request = template.batch(up.port, up.api_key, EVENTS_A_BATCH)
        _press(request, up.port, options.warmup_s, folder)
        load = _press(request, up.port, options.seconds, folder)
    speed = load.per_second * EVENTS_A_BATCH
    figures.add(contender.name, POINT, "answered", "events/s", speed)


def _press(request: template.Template, port: int, seconds: int, work: Path) -> wrk.Load:
    return wrk.press(request, port=port, connections=CONNECTIONS, seconds=seconds, work=work)


SCENARIO = Scenario(
    name="batch",
    title="Batches of events",
    method=(
        f"wrk sends POST /events/batch with {EVENTS_A_BATCH} events each over {CONNECTIONS} "
        "connections to headrace api on an empty store, then to headrace serve, whose worker "
        "shares the cores. The ceiling is the database alone: right after headrace api, the very "
        "rows that it stored go by executemany into a new SQLite file, or by COPY on one "
        "connection into a new PostgreSQL database, of the same schema, as many to a commit as "
        "the service had on average, synced as it does. The ceiling decodes, checks and answers "
        "nothing."
    ),
    run=run,
    stores=frozenset(StoreKind),
)
