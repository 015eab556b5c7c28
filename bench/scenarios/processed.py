"""How long does it take from sending an event until it is processed?"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Self

from bench import contenders
from bench.collector import Collector
from bench.contenders import Running, fresh_folder
from bench.load import template
from bench.load.fill import everybody, fill
from bench.load.fixed_rate import at_rate
from bench.load.open_loop import People, percentile_of
from bench.load.wrk import LoadFailedError
from bench.options import Options
from bench.results import Better, Comparison, Lines, Outcome
from bench.scenario import Progress, Scenario
from bench.store_reader import StoreReader, reading
from bench.stores import StoreKind
from headrace.domain.events.event import Source, Status

SERIES = contenders.SERVE.name
COMPARED_RATE = 1_000
PEOPLE = 50_000
NEW_PERCENT = 10
PERCENTILES = {50.0: "p50", 95.0: "p95", 99.0: "p99", 100.0: "max"}
#: How often the store is polled: this much may be added to a figure.
WATCH_S = 0.002
#: After the last request, for events still in progress.
DRAIN_S = 30.0


class Watcher:
    """Records when each event is first seen as processed, over a connection of its own."""

    def __init__(self, reader: StoreReader) -> None:
        #: Key to the time seen, the time received and the stored time of processing.
        self.seen: dict[str, tuple[int, int, int]] = {}
        self._reader = reader
        self._start = self._position = reader.last_sequence()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        # Once more from the start: events further out of order than the window.
        self._position = self._start
        while self._look(disorder=0):
            pass

    def _watch(self) -> None:
        while not self._ended.wait(WATCH_S):
            self._look(self._reader.dialect.disorder)

    def _look(self, disorder: int) -> int:
        """Read what has been processed since the last poll."""
        after = max(self._start, self._position - disorder)
        wanted = (Status.PROCESSED.value, Source.API.value)
        rows = self._reader.rows(self._reader.dialect.processed, after, *wanted)
        seen_us = time.time_ns() // 1000
        for sequence, key, received_us, processed_us in rows:
            self.seen.setdefault(key, (seen_us, received_us, processed_us))
            self._position = sequence
        return len(rows)


def run(options: Options, progress: Progress) -> Outcome:
    """In every round a store with known people, then each rate in sequence."""
    figures = Collector()
    for number in range(1, options.rounds + 1):
        with (
            fresh_folder(options.stores, "processed") as folder,
            contenders.headrace_serve(folder) as up,
        ):
            fill(up.port, up.api_key, everybody(PEOPLE))
            with reading(folder) as reader:
                reader.wait_until_processed(DRAIN_S * 2)
            new_from = PEOPLE
            for rate in options.processed_rates:
                _measure(up, folder, rate, new_from, figures, options)
                new_from += rate * (options.seconds + options.warmup_s)
                p95 = figures.row(SERIES, _point(rate), "p95").rounds[-1]
                progress(f"round {number}: at {rate:,}/s: p95 {p95:.1f} ms")
    return Outcome(
        rows=figures.rows(),
        comparisons=(_comparison(figures),),
        charts=(_chart(figures, options),),
    )


def _measure(
    up: Running, folder: Path, rate: int, new_from: int, figures: Collector, options: Options
) -> None:
    sent = folder / "sent"
    with reading(folder) as own, reading(folder) as watched, Watcher(watched) as watcher:
        at_rate(
            template.single(up.port, up.api_key),
            port=up.port,
            rate=rate,
            seconds=options.seconds,
            warmup_s=options.warmup_s,
            work=folder,
            people=People(known=PEOPLE, new_percent=NEW_PERCENT, new_from=new_from),
            sent=sent,
        )
        waiting = own.waiting()
        own.wait_until_processed(DRAIN_S)
    due_us = {key: int(at) for key, at in map(str.split, sent.read_text("ascii").splitlines())}
    if missing := len(due_us.keys() - watcher.seen.keys()):
        raise LoadFailedError(f"{missing} of {len(due_us)} events were not seen processed")
    took = sorted((watcher.seen[key][0] - due) / 1e3 for key, due in due_us.items())
    marked = sorted((watcher.seen[key][2] - watcher.seen[key][1]) / 1e3 for key in due_us)
    for percentile, name in PERCENTILES.items():
        figures.add(SERIES, _point(rate), name, "ms", percentile_of(took, percentile))
        inside = percentile_of(marked, percentile)
        figures.add(SERIES, _point(rate), f"received to marked, {name}", "ms", inside)
    figures.add(SERIES, _point(rate), "waiting when the load ended", "events", waiting)


def _point(rate: int) -> str:
    return f"{rate:,}/s"


def _comparison(figures: Collector) -> Comparison:
    return Comparison(
        what=f"accept to processed p95 at {COMPARED_RATE:,} events/s",
        unit="ms",
        rounds=figures.row(SERIES, _point(COMPARED_RATE), "p95").rounds,
        bar=200,
        goal=50,
        better=Better.LOWER,
    )


def _chart(figures: Collector, options: Options) -> Lines:
    points = tuple(_point(rate) for rate in options.processed_rates)
    return Lines(
        title="From sending an event until it is processed",
        unit="ms",
        x_label="events a second",
        x=points,
        series={
            name: tuple(figures.row(SERIES, point, name).value for point in points)
            for name in PERCENTILES.values()
        },
    )


SCENARIO = Scenario(
    name="processed",
    title="From accept to processed",
    method=(
        f"headrace serve knows {PEOPLE:,} people. The open-loop generator sends single events at "
        f"fixed rates, {NEW_PERCENT} % of them of people who are new, for each of whom a contact "
        "and its system event are made. Beside it a read-only connection asks every "
        f"{WATCH_S * 1e3:g} ms which events are processed: the time runs from when a request was "
        "due to when its event was seen processed, commits and answers included. The times "
        "received to marked are those in the store itself; a mark is taken when the worker's "
        "transaction begins."
    ),
    run=run,
    stores=frozenset(StoreKind),
)
