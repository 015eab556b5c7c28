"""How many single events a second does it accept?"""

from __future__ import annotations

from bench import contenders
from bench.collector import Collector
from bench.contenders import Contender, fresh_folder
from bench.load import template, wrk
from bench.options import Options
from bench.results import Bars, Better, Comparison, Outcome, ratios
from bench.scenario import Progress, Scenario
from bench.stores import StoreKind, shared

CONTENDERS = (
    contenders.API,
    contenders.SERVE,
    contenders.ANSWER_ONLY,
    contenders.FASTAPI_SQLITE,
    contenders.GRANIAN_RSGI,
    contenders.UVICORN_ASGI,
)
#: The number of connections for the bars.
COMPARED_CONNECTIONS = 64
ACCEPTED = "accepted"


def run(options: Options, progress: Progress) -> Outcome:
    """Give every contender its turn in every round, each time on an empty store."""
    figures = Collector()
    for number in range(1, options.rounds + 1):
        for contender in CONTENDERS:
            _measure(contender, figures, options)
            speeds = (
                f"{figures.row(contender.name, _point(count), ACCEPTED).rounds[-1]:,.0f}/s"
                for count in options.connections
            )
            progress(f"round {number}: {contender.name}: {', '.join(speeds)}")
    return Outcome(
        rows=figures.rows(), comparisons=_comparisons(figures), charts=(_chart(figures, options),)
    )


def _measure(contender: Contender, figures: Collector, options: Options) -> None:
    with fresh_folder(options.stores, "accept") as folder, contender.start(folder) as up:
        acknowledged = 0
        request = template.single(up.port, up.api_key)
        for connections in options.connections:
            warmup = wrk.press(
                request,
                port=up.port,
                connections=connections,
                seconds=options.warmup_s,
                work=folder,
            )
            cpu_before_s = up.server.cpu_s()
            load = wrk.press(
                request,
                port=up.port,
                connections=connections,
                seconds=options.seconds,
                work=folder,
            )
            cpu_us = (up.server.cpu_s() - cpu_before_s) * 1e6
            acknowledged += warmup.requests + load.requests
            point = _point(connections)
            figures.add(contender.name, point, ACCEPTED, "1/s", load.per_second)
            figures.add(contender.name, point, "p50", "ms", load.p50_us / 1e3)
            figures.add(contender.name, point, "p99", "ms", load.p99_us / 1e3)
            figures.add(contender.name, point, "server CPU an event", "µs", cpu_us / load.requests)
        up.check_stored(acknowledged)


def _point(connections: int) -> str:
    return f"{connections} connections"


def _comparisons(figures: Collector) -> tuple[Comparison, ...]:
    point = _point(COMPARED_CONNECTIONS)
    accepted = figures.row(contenders.API.name, point, ACCEPTED)
    answer_only = figures.row(contenders.ANSWER_ONLY.name, point, ACCEPTED)
    by_hand = figures.row(contenders.FASTAPI_SQLITE.name, point, ACCEPTED)
    if shared() is not None:
        return (
            Comparison(
                what="single-event accept, PostgreSQL on the same machine",
                unit="events/s",
                rounds=accepted.rounds,
                bar=12_000,
                goal=25_000,
                better=Better.HIGHER,
            ),
        )
    return (
        Comparison(
            what="single-event accept, share of the same server only answering",
            unit="",
            rounds=ratios(accepted, answer_only),
            bar=0.55,
            goal=0.75,
            better=Better.HIGHER,
        ),
        Comparison(
            what="single-event accept, multiple of FastAPI + SQLite by hand",
            unit="times",
            rounds=ratios(accepted, by_hand),
            bar=12,
            goal=20,
            better=Better.HIGHER,
        ),
    )


def _chart(figures: Collector, options: Options) -> Bars:
    groups = tuple(_point(connections) for connections in options.connections)
    return Bars(
        title="Single events accepted a second",
        unit="events/s",
        groups=groups,
        series={
            name: tuple(figures.row(name, group, ACCEPTED).rounds for group in groups)
            for name in figures.series()
        },
    )


SCENARIO = Scenario(
    name="accept",
    title="Single events, as fast as the connections carry them",
    method=(
        "headrace api is the accept alone; in headrace serve a worker processes what arrives and "
        "takes its share of the same cores. wrk keeps one request in flight on each connection: "
        "POST /events with a body of about 330 bytes, an API key, and an idempotency key of its "
        "own for every event. Each contender starts on an empty store in every round. Contenders "
        "that store must hold every event they acknowledged when the load ends, or the run fails."
    ),
    run=run,
    stores=frozenset(StoreKind),
)
