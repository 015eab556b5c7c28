"""How fast are events delivered, and what does a dead subscriber cost the others?"""

from __future__ import annotations

import time

from bench import contenders
from bench.collector import Collector
from bench.contenders import fresh_folder
from bench.headrace_server import working
from bench.load import template
from bench.load.fill import everybody, fill
from bench.load.fixed_rate import at_rate
from bench.load.open_loop import People, percentile_of
from bench.load.wrk import LoadFailedError
from bench.options import Options
from bench.results import Bars, Outcome
from bench.scenario import Progress, Scenario
from bench.store_reader import StoreReader, reading
from bench.stores import StoreKind
from bench.webhooks import DEAD, ENVIRONMENT, HEALTHY, received, receiving, subscribe

SERIES = "headrace worker"
SUBSCRIBERS = (1, 10)
DELIVERED = "delivered"
#: Events a second with a dead subscriber; nine deliveries each.
RATE = 50
NEIGHBOURS = 9
PEOPLE = 1_000
PERCENTILES = {50.0: "p50", 95.0: "p95", 99.0: "p99", 100.0: "max"}
ALONE, BESIDE = f"{NEIGHBOURS} healthy alone", f"{NEIGHBOURS} healthy beside a dead one"
#: Delivering is abandoned below this speed.
DELIVERIES_PER_SECOND_MIN = 100
START_S = 30
POLL_S = 0.1


def run(options: Options, progress: Progress) -> Outcome:
    """In every round: backlogs for one and for ten subscribers, then with a dead subscriber."""
    figures = Collector()
    for number in range(1, options.rounds + 1):
        for subscribers in SUBSCRIBERS:
            _measure_throughput(subscribers, figures, options)
            speed = figures.row(SERIES, _point(subscribers), DELIVERED).rounds[-1]
            progress(f"round {number}: {_point(subscribers)}: {speed:,.0f}/s")
        for point in (ALONE, BESIDE):
            _measure_latency(point, figures, options)
            took = figures.row(SERIES, point, "p99").rounds[-1]
            progress(f"round {number}: {point}: p99 {took:.1f} ms")
    return Outcome(rows=figures.rows(), charts=_charts(figures))


def _measure_throughput(subscribers: int, figures: Collector, options: Options) -> None:
    """Accept without a worker, then let one process and deliver everything."""
    events = options.deliveries // subscribers
    wanted = events * subscribers
    with fresh_folder(options.stores, "deliveries") as folder, receiving(folder) as receiver:
        with contenders.headrace(folder, "api", ENVIRONMENT) as up:
            for number in range(subscribers):
                subscribe(up.port, up.api_key, receiver, HEALTHY, number)
            fill(up.port, up.api_key, everybody(events))
        with working(folder, ENVIRONMENT), reading(folder) as reader:
            _wait_until_delivered(reader, wanted, "")
            (first_us, last_us), *_ = reader.rows(
                "SELECT min(created_us), max(finished_us) FROM deliveries"
            )
        if received(receiver) < wanted:
            raise LoadFailedError(f"{received(receiver)} of {wanted} deliveries were received")
    speed = wanted / (last_us - first_us) * 1e6
    figures.add(SERIES, _point(subscribers), DELIVERED, "1/s", speed)


def _measure_latency(point: str, figures: Collector, options: Options) -> None:
    with fresh_folder(options.stores, "deliveries") as folder, receiving(folder) as receiver:
        dead = ""
        with contenders.headrace(folder, "api", ENVIRONMENT) as up:
            for number in range(NEIGHBOURS):
                subscribe(up.port, up.api_key, receiver, HEALTHY, number)
            if point == BESIDE:
                dead = subscribe(up.port, up.api_key, receiver, DEAD, 0)
        with contenders.headrace(folder, "serve", ENVIRONMENT) as up, reading(folder) as reader:
            at_rate(
                template.single(up.port, up.api_key),
                port=up.port,
                rate=RATE,
                seconds=options.seconds,
                warmup_s=options.warmup_s,
                work=folder,
                people=People(known=PEOPLE),
            )
            events = RATE * (options.seconds + options.warmup_s)
            _wait_until_delivered(reader, events * NEIGHBOURS, dead)
            _add_latencies(reader, dead, point, figures)


def _wait_until_delivered(reader: StoreReader, wanted: int, dead: str) -> None:
    """Return once this many deliveries to subscribers other than `dead` have succeeded.

    Raises:
        LoadFailedError: it took too long, or one ended otherwise.
    """
    seconds_max = START_S + wanted / DELIVERIES_PER_SECOND_MIN
    give_up = time.perf_counter() + seconds_max
    done = "SELECT count(*) FROM deliveries WHERE state = 3 AND subscriber_id <> ?"
    while (delivered := reader.number(done, dead)) < wanted:
        if time.perf_counter() > give_up:
            raise LoadFailedError(f"{delivered} of {wanted} delivered after {seconds_max:.0f} s")
        time.sleep(POLL_S)


def _add_latencies(reader: StoreReader, dead: str, point: str, figures: Collector) -> None:
    rows = reader.rows(
        "SELECT d.finished_us - e.received_us FROM deliveries d "
        "JOIN events e ON e.sequence = d.sequence WHERE d.state = 3 AND d.subscriber_id <> ?",
        dead,
    )
    took = sorted(row[0] / 1e3 for row in rows)
    for percentile, name in PERCENTILES.items():
        figures.add(SERIES, point, name, "ms", percentile_of(took, percentile))


def _point(subscribers: int) -> str:
    return f"{subscribers} subscriber{'s' if subscribers > 1 else ''}"


def _charts(figures: Collector) -> tuple[Bars, ...]:
    points = tuple(_point(subscribers) for subscribers in SUBSCRIBERS)
    names = tuple(PERCENTILES.values())
    return (
        Bars(
            title="Deliveries a second to a local receiver",
            unit="1/s",
            groups=points,
            series={
                SERIES: tuple(figures.row(SERIES, point, DELIVERED).rounds for point in points)
            },
        ),
        Bars(
            title="From accept to delivered, healthy subscribers",
            unit="ms",
            groups=names,
            series={
                point: tuple(figures.row(SERIES, point, name).rounds for name in names)
                for point in (ALONE, BESIDE)
            },
        ),
    )


SCENARIO = Scenario(
    name="deliveries",
    title="Deliveries to webhooks",
    method=(
        "The receiver is a small server of its own on the same machine that answers 204 at once. "
        "Speed: events are stored by headrace api for one, then for ten subscribers; one headrace "
        "worker processes, signs, sends and records them; from the first delivery made to the last "
        f"one finished. Dead neighbour: {RATE} events a second go to {NEIGHBOURS} healthy "
        "subscribers through headrace serve, without and with another one that takes connections "
        "and requests and never answers; from receipt of the event to the recorded success, "
        "healthy subscribers only."
    ),
    run=run,
    stores=frozenset(StoreKind),
)
