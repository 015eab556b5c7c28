"""What do more processes on one shared store bring?"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from bench import contenders
from bench.collector import Collector
from bench.contenders import fresh_folder
from bench.headrace_server import make_key, serving, wait_until_usable, working
from bench.load import template, wrk
from bench.load.fill import anybody, everybody, fill
from bench.options import Options
from bench.results import Bars, Outcome
from bench.scenario import Progress, Scenario
from bench.store_reader import reading
from bench.stores import StoreKind

PROCESSES = (1, 2, 4)
CONNECTIONS = 64
PEOPLE = 50_000
API, WORKER = "headrace api", "headrace worker"
ACCEPTED, PROCESSED = "accepted", "processed"
#: Draining is abandoned below this speed.
EVENTS_PER_SECOND_MIN = 1_000
START_S = 30


def run(options: Options, progress: Progress) -> Outcome:
    """Every number of processes has its turn in every round, each time on an empty store."""
    figures = Collector()
    for number in range(1, options.rounds + 1):
        for processes in PROCESSES:
            point = _point(processes)
            with fresh_folder(options.stores, "scaling") as folder:
                accepted = _accept(folder, processes, options)
            figures.add(API, point, ACCEPTED, "events/s", accepted)
            with fresh_folder(options.stores, "scaling") as folder:
                processed = _process(folder, processes, options.backlog_events)
            figures.add(WORKER, point, PROCESSED, "events/s", processed)
            progress(
                f"round {number}: {point}: {accepted:,.0f}/s accepted, {processed:,.0f}/s processed"
            )
    points = tuple(map(_point, PROCESSES))
    chart = Bars(
        title="Events a second by the number of processes",
        unit="events/s",
        groups=points,
        series={
            name: tuple(figures.row(name, point, metric).rounds for point in points)
            for name, metric in ((API, ACCEPTED), (WORKER, PROCESSED))
        },
    )
    return Outcome(rows=figures.rows(), comparisons=(), charts=(chart,))


def _point(processes: int) -> str:
    return "1 process" if processes == 1 else f"{processes} processes"


def _accept(folder: Path, processes: int, options: Options) -> float:
    """Events a second that this many API processes accept, each loaded by a wrk of its own."""
    with ExitStack() as stack:
        places = [folder / str(number) for number in range(processes)]
        with serving(folder, "api"):
            # The first start makes the project that the key belongs to.
            api_key = make_key(folder)
        ports = [stack.enter_context(serving(folder, "api")).port for _ in places]
        for place, port in zip(places, ports, strict=True):
            place.mkdir()
            wait_until_usable(port, api_key)

        def press(port: int, place: Path, seconds: int) -> wrk.Load:
            return wrk.press(
                template.single(port, api_key),
                port=port,
                connections=CONNECTIONS // processes,
                seconds=seconds,
                work=place,
            )

        with ThreadPoolExecutor(processes) as threads:
            list(threads.map(press, ports, places, [options.warmup_s] * processes))
            loads = list(threads.map(press, ports, places, [options.seconds] * processes))
    return sum(load.per_second for load in loads)


def _process(folder: Path, workers: int, backlog: int) -> float:
    """Events a second that this many workers process from a backlog of known people."""
    people = min(PEOPLE, backlog)
    with contenders.headrace_api(folder) as up, reading(folder) as reader:
        fill(up.port, up.api_key, everybody(people))
    _drain(folder, 1, people)
    with contenders.headrace_api(folder) as up, reading(folder) as reader:
        before = reader.last_sequence()
        fill(up.port, up.api_key, anybody(people, backlog))
    _drain(folder, workers, backlog)
    with reading(folder) as reader:
        return reader.processed_per_second(before)[1]


def _drain(folder: Path, workers: int, events: int) -> None:
    with ExitStack() as stack:
        for _ in range(workers):
            stack.enter_context(working(folder))
        reader = stack.enter_context(reading(folder))
        reader.wait_until_processed(START_S + events / EVENTS_PER_SECOND_MIN)


SCENARIO = Scenario(
    name="scaling",
    title="One, two and four processes on one store",
    method=(
        f"Accepting: so many headrace api processes, {CONNECTIONS} connections of wrk shared out "
        "among them. Processing: a backlog of people who are known, then so many headrace worker "
        "processes until nothing waits. Load, database and all processes share the cores of one "
        "machine, so beyond the number of its cores more processes only show what sharing costs."
    ),
    run=run,
    stores=frozenset({StoreKind.POSTGRESQL}),
)
