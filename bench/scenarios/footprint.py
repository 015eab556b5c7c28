"""What does it take to have it running?"""

from __future__ import annotations

import time

from bench import contenders
from bench.collector import Collector
from bench.contenders import fresh_folder
from bench.headrace_server import make_key, serving, wait_until_usable
from bench.load import template, wrk
from bench.options import Options
from bench.processes import Server
from bench.results import Bars, Better, Comparison, Outcome
from bench.scenario import Progress, Scenario
from bench.stores import StoreKind

SERIES = contenders.SERVE.name
#: How long a started server is idle before its memory is read.
IDLE_S = 3
LOAD_CONNECTIONS = 64
FIRST, SECOND = "first start, empty store", "second start"
IDLE, LOADED = "idle", "after load"


def run(options: Options, progress: Progress) -> Outcome:
    """Start twice on one store in every round; read memory when idle and after a load."""
    figures = Collector()
    for number in range(1, options.rounds + 1):
        with fresh_folder(options.stores, "footprint") as folder:
            with serving(folder) as server:
                _add_start(figures, FIRST, server)
                api_key = make_key(folder)
            with serving(folder) as server:
                _add_start(figures, SECOND, server)
                time.sleep(IDLE_S)
                _add_memory(figures, IDLE, server)
                wait_until_usable(server.port, api_key)
                wrk.press(
                    template.single(server.port, api_key),
                    port=server.port,
                    connections=LOAD_CONNECTIONS,
                    seconds=options.seconds,
                    work=folder,
                )
                _add_memory(figures, LOADED, server)
        progress(f"round {number}: {_summary(figures)}")
    return Outcome(rows=figures.rows(), comparisons=_comparisons(figures), charts=_charts(figures))


def _add_start(figures: Collector, point: str, server: Server) -> None:
    figures.add(SERIES, point, "ready after", "s", server.ready_after_s)


def _add_memory(figures: Collector, point: str, server: Server) -> None:
    memory = server.memory()
    figures.add(SERIES, point, "RSS", "MB", memory.rss_bytes / 1e6)
    figures.add(SERIES, point, "PSS", "MB", memory.pss_bytes / 1e6)


def _summary(figures: Collector) -> str:
    parts = (
        f"{row.metric} {row.rounds[-1]:.2f} {row.unit} ({row.point})" for row in figures.rows()
    )
    return ", ".join(parts)


def _comparisons(figures: Collector) -> tuple[Comparison, ...]:
    return (
        Comparison(
            what="idle memory of headrace serve, RSS of all its processes",
            unit="MB",
            rounds=figures.row(SERIES, IDLE, "RSS").rounds,
            bar=150,
            goal=80,
            better=Better.LOWER,
        ),
        *(
            Comparison(
                what=f"start to ready, {point}",
                unit="s",
                rounds=figures.row(SERIES, point, "ready after").rounds,
                bar=2,
                goal=0.7,
                better=Better.LOWER,
            )
            for point in (FIRST, SECOND)
        ),
    )


def _charts(figures: Collector) -> tuple[Bars, ...]:
    memory = (IDLE, LOADED)
    starts = (FIRST, SECOND)
    return (
        Bars(
            title="Memory of headrace serve",
            unit="MB",
            groups=memory,
            series={
                kind: tuple(figures.row(SERIES, point, kind).rounds for point in memory)
                for kind in ("RSS", "PSS")
            },
        ),
        Bars(
            title="From the start of the process to the first 200 on /readyz",
            unit="s",
            groups=starts,
            series={
                SERIES: tuple(figures.row(SERIES, point, "ready after").rounds for point in starts)
            },
        ),
    )


SCENARIO = Scenario(
    name="footprint",
    title="Memory and start",
    method=(
        "headrace serve is started on an empty store, stopped, and started again on the same "
        "store. Memory is that of all its processes: RSS counts shared pages once for each, PSS "
        f"divides them. It is read {IDLE_S} s after the start, and again after a load over "
        f"{LOAD_CONNECTIONS} connections."
    ),
    run=run,
    stores=frozenset(StoreKind),
)
