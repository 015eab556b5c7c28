"""How fast does one worker get through a backlog?"""

from __future__ import annotations

from bench import contenders
from bench.collector import Collector
from bench.contenders import fresh_folder
from bench.headrace_server import working
from bench.load.fill import anybody, everybody, fill
from bench.options import Options
from bench.results import Bars, Better, Comparison, Outcome
from bench.scenario import Progress, Scenario
from bench.store_reader import reading
from bench.stores import StoreKind

SERIES = "headrace worker"
PEOPLE = 50_000
KNOWN, NEW = "people known", "everybody new"
PROCESSED = "processed"
#: Draining is abandoned below this speed.
EVENTS_PER_SECOND_MIN = 1_000
START_S = 30


def run(options: Options, progress: Progress) -> Outcome:
    """In every round: fill without a worker, then start one and wait until the queue is empty."""
    figures = Collector()
    backlog = options.backlog_events
    people = min(PEOPLE, backlog)
    for number in range(1, options.rounds + 1):
        with fresh_folder(options.stores, "backlog") as folder:
            for point, events in ((NEW, people), (KNOWN, backlog)):
                users = everybody(events) if point == NEW else anybody(people, events)
                with contenders.headrace_api(folder) as up, reading(folder) as reader:
                    before = reader.last_sequence()
                    fill(up.port, up.api_key, users)
                with working(folder), reading(folder) as reader:
                    reader.wait_until_processed(START_S + events / EVENTS_PER_SECOND_MIN)
                    _, speed = reader.processed_per_second(before)
                figures.add(SERIES, point, PROCESSED, "events/s", speed)
                progress(f"round {number}: {point}: {events:,} events at {speed:,.0f}/s")
    known = figures.row(SERIES, KNOWN, PROCESSED)
    comparison = Comparison(
        what=f"processing, one worker, backlog of {backlog:,}",
        unit="events/s",
        rounds=known.rounds,
        bar=5_000,
        goal=20_000,
        better=Better.HIGHER,
    )
    chart = Bars(
        title="Events that one worker processes a second",
        unit="events/s",
        groups=(KNOWN, NEW),
        series={
            SERIES: tuple(figures.row(SERIES, point, PROCESSED).rounds for point in (KNOWN, NEW))
        },
    )
    return Outcome(rows=figures.rows(), comparisons=(comparison,), charts=(chart,))


SCENARIO = Scenario(
    name="backlog",
    title="A backlog and one worker",
    method=(
        "headrace api is filled through the batch API and stopped; then one headrace worker is "
        "started on the store, alone on the machine, until nothing waits. First the backlog has "
        f"one event each of up to {PEOPLE:,} people who are new (a contact and a system event are "
        "made for each, which is processed too but not counted), then the full backlog of people "
        "who are known by then. Speed is from the first batch to the last, by the marks of the "
        "events."
    ),
    run=run,
    stores=frozenset(StoreKind),
)
