"""What does it cost an accept that old events are removed meanwhile?"""

from __future__ import annotations

import time
from pathlib import Path

import apsw

from bench import contenders
from bench.collector import Collector
from bench.contenders import fresh_folder
from bench.headrace_server import set_policy
from bench.load import template
from bench.load.fill import anybody, everybody, fill
from bench.load.fixed_rate import at_rate
from bench.load.open_loop import People
from bench.load.wrk import LoadFailedError
from bench.options import Options
from bench.results import Bars, Better, Comparison, Outcome, ratios
from bench.scenario import Progress, Scenario
from bench.store_reader import reading
from bench.stores import DATABASE, StoreKind, copy_store, shared

RATE = 1_000
POINT = f"{RATE:,}/s"
PEOPLE = 20_000
RETENTION_DAYS = 1
AGED_DAYS = 3
DAY_MS = 24 * 3600 * 1000
#: More than retention removes in that time, so that it runs throughout.
DUE_PER_SECOND = 20_000
#: For the worker to start and to begin removing.
REMOVING_WITHIN_S = 30.0
POLL_S = 0.02
PERCENTILES = {50.0: "p50", 95.0: "p95", 99.0: "p99", 99.9: "p99.9", 100.0: "max"}
P99 = PERCENTILES[99.0]
#: The sequence of an event holds the millisecond of its receipt, 21 bits up.
_AGED_SEQUENCES = (AGED_DAYS * DAY_MS) << 21
_SET_BACK = (
    f"UPDATE events SET sequence = sequence - {_AGED_SEQUENCES}, "
    f"received_us = received_us - {AGED_DAYS * DAY_MS * 1000}"
)
#: PostgreSQL keeps these in separate tables.
_SET_BACK_BESIDE = (
    f"UPDATE event_states SET sequence = sequence - {_AGED_SEQUENCES}",
    f"UPDATE recent_keys SET event_sequence = event_sequence - {_AGED_SEQUENCES}",
    f"UPDATE sorted_keys SET event_sequence = event_sequence - {_AGED_SEQUENCES}",
    # Tasks that the server runs every minute, and must not run while it is measured.
    "VACUUM ANALYZE",
)
#: Retention follows a clock that has jumped only slowly; without saved state it trusts the events.
_FORGET_CLOCK = "DELETE FROM meta WHERE name = 'retention'"
RESTING, RUNNING = "nothing due", "retention running"


def run(options: Options, progress: Progress) -> Outcome:
    """In every round one store in two copies: nothing is due in one, everything in the other."""
    figures = Collector()
    for number in range(1, options.rounds + 1):
        with fresh_folder(options.stores, "retention") as made:
            _make_old_events(made, DUE_PER_SECOND * (options.seconds + options.warmup_s))
            for series in (RESTING, RUNNING):
                with fresh_folder(options.stores, "retention") as folder:
                    copy_store(made, folder)
                    _measure(series, folder, figures, options)
                took = figures.row(series, POINT, P99).rounds[-1]
                progress(f"round {number}: {series}: p99 {took:.2f} ms")
    pair = (figures.row(RUNNING, POINT, P99), figures.row(RESTING, POINT, P99))
    share = Comparison(
        what=f"accept p99 at {RATE:,} requests/s, retention running against not running",
        unit="times",
        rounds=ratios(*pair),
        bar=1.2,
        goal=1.05,
        better=Better.LOWER,
    )
    return Outcome(rows=figures.rows(), comparisons=(share,), charts=(_chart(figures),))


def _make_old_events(folder: Path, events: int) -> None:
    """Store and process events, then set them back in time, and add a new one of each person."""
    with contenders.headrace_serve(folder) as up, reading(folder) as reader:
        fill(up.port, up.api_key, anybody(PEOPLE, events))
        reader.wait_until_processed(60 + events / 1_000)
    _change(folder, _SET_BACK, _SET_BACK_BESIDE)
    with contenders.headrace_serve(folder) as up, reading(folder) as reader:
        fill(up.port, up.api_key, everybody(PEOPLE))
        reader.wait_until_processed(60)
    _change(folder, _FORGET_CLOCK)


def _change(folder: Path, statement: str, on_postgresql: tuple[str, ...] = ()) -> None:
    """Change a store at rest.

    Args:
        on_postgresql: further changes there.
    """
    databases = shared()
    if databases is not None:
        for each in (statement, *on_postgresql):
            databases.server.run_sql(databases.name(folder.resolve()), each)
        return
    connection = apsw.Connection(str(folder / DATABASE))
    try:
        connection.execute(statement)
        # So that the database is one file, which can be copied.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


def _measure(series: str, folder: Path, figures: Collector, options: Options) -> None:
    if series == RUNNING:
        set_policy(folder, "event_retention_days", str(RETENTION_DAYS))
    with contenders.headrace_serve(folder) as up, reading(folder) as reader:
        before_us = (int(time.time()) - RETENTION_DAYS * DAY_MS // 1000) * 1_000_000
        old = "SELECT count(*) FROM events WHERE received_us < ?"
        due = reader.number(old, before_us)
        give_up = time.perf_counter() + REMOVING_WITHIN_S
        while series == RUNNING and reader.number(old, before_us) == due:
            if time.perf_counter() > give_up:
                raise LoadFailedError("retention has not begun")
            time.sleep(POLL_S)
        first, began = reader.number(old, before_us), time.perf_counter()
        latency = at_rate(
            template.single(up.port, up.api_key),
            port=up.port,
            rate=RATE,
            seconds=options.seconds,
            warmup_s=options.warmup_s,
            work=folder,
            people=People(known=PEOPLE),
        )
        left, took_s = reader.number(old, before_us), time.perf_counter() - began
    if series == RUNNING and not left:
        raise LoadFailedError("retention was done before the load ended")
    for percentile, took_us in latency.percentiles:
        if percentile in PERCENTILES:
            figures.add(series, POINT, PERCENTILES[percentile], "ms", took_us / 1e3)
    figures.add(series, POINT, "removed", "events/s", (first - left) / took_s)


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
    name="retention",
    title="Accepting beside retention",
    method=(
        f"A store is filled with {DUE_PER_SECOND:,} processed events for every second of the load "
        f"and these are set back by {AGED_DAYS} days. headrace serve takes {RATE:,} events a "
        "second from the open-loop generator on two copies of it: with the default policy, under "
        f"which nothing is due, and with event_retention_days = {RETENTION_DAYS}, under which "
        "retention removes from before the load until after it."
    ),
    run=run,
    stores=frozenset(StoreKind),
)
