"""How fast do automations start and resume runs, and what do they cost everything else?"""

from __future__ import annotations

import json
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import apsw

from bench import contenders
from bench.collector import Collector
from bench.contenders import Running, fresh_folder
from bench.headrace_server import working
from bench.load import template
from bench.load.fill import anybody, everybody, fill
from bench.load.fixed_rate import at_rate
from bench.load.open_loop import People, percentile_of
from bench.load.waiting_runs import contacts_of, copy_run
from bench.load.wrk import LoadFailedError
from bench.options import Options
from bench.processes import HOST, Server
from bench.results import Bars, Better, Comparison, Outcome, ratios
from bench.scenario import Progress, Scenario
from bench.store_reader import StoreReader, reading
from bench.stores import DATABASE, StoreKind, shared

SERIES = "headrace worker"
#: Event of all loads, see `bench.load.template`.
EVENT = "order.completed"
NONE, OTHERS = "no automation", "50 automations of other events"
EMPTY, WAITING = "no runs", "waiting runs"
STARTS, RESUMED, TIMERS, AT_ONCE = "starts", "events that resume", "timers", "all due at once"
SPEED, CPU, MEMORY = "a second", "CPU of the worker", "memory of the worker"
P95, P99 = "p95", "p99"
ACCEPT_P99 = "accept p99 beside"
AUTOMATIONS = 50
PAIRS = 10
RATE = 1_000
PEOPLE = 20_000
#: People of an event that resumes a run: most events find a waiting one.
PEOPLE_PER_EVENT = 3
#: A run waits so long before its copies get times of their own.
DAY_S = 86_400
YEAR_US = 365 * DAY_S * 1_000_000
#: Timers are due from then on, so that the worker has started.
LEAD_S = 12
POLL_S = 0.02
START_S = 60
PER_SECOND_MIN = 50
ANSWER_WITHIN_S = 60
#: How far behind the newest run that was seen others may still appear, in microseconds.
DISORDER_US = 3_000_000


def run(options: Options, progress: Progress) -> Outcome:
    """Pairs without and with automations, then each kind of work in every round."""
    figures = Collector()
    pairs, events = (1, 5_000) if options.quick else (PAIRS, 20_000)
    for number in range(1, pairs + 1):
        # Each comes first in turn, so that what drifts affects both alike.
        for point in (NONE, OTHERS)[:: 1 if number % 2 else -1]:
            _measure_others(point, events, figures, options)
            progress(f"pair {number}: {_said(figures, point, SPEED, CPU)}")
    for number in range(1, options.rounds + 1):
        for measure, point in (
            (_measure_starts, STARTS),
            (_measure_resumed, RESUMED),
            (_measure_timers, TIMERS),
            (_measure_at_once, AT_ONCE),
        ):
            measure(figures, options)
            progress(f"round {number}: {_said(figures, point)}")
    for point in (EMPTY, WAITING):
        _measure_waiting(point, figures, options)
        progress(_said(figures, point))
    return Outcome(
        rows=figures.rows(), comparisons=_comparisons(figures), charts=(_chart(figures),)
    )


def _said(figures: Collector, point: str, *metrics: str) -> str:
    rows = [
        row
        for row in figures.rows()
        if row.point == point and (not metrics or row.metric in metrics)
    ]
    return f"{point}: " + ", ".join(f"{r.metric} {r.rounds[-1]:,.1f} {r.unit}" for r in rows)


# Measurements.


def _measure_others(point: str, events: int, figures: Collector, options: Options) -> None:
    """A backlog of events that no automation waits for."""
    with fresh_folder(options.stores, "automations") as folder:
        with contenders.headrace(folder, "api") as up, reading(folder) as reader:
            for number in range(AUTOMATIONS if point == OTHERS else 0):
                _publish(up, f"other.{number}", _wait(f"awaited.{number}"))
            _known(up, folder, reader, PEOPLE // 10)
            after = reader.last_sequence()
            fill(up.port, up.api_key, anybody(PEOPLE // 10, events))
        with working(folder) as pid, reading(folder) as reader:
            reader.wait_until_processed(START_S + events / PER_SECOND_MIN)
            used_s = _cpu_s(pid)
            _, speed = reader.processed_per_second(after)
    figures.add(SERIES, point, SPEED, "1/s", speed)
    figures.add(SERIES, point, CPU, "µs/event", used_s / events * 1e6)


def _measure_starts(figures: Collector, options: Options) -> None:
    """Runs that begin with events which are processed and wait in the inbox."""
    count = 2_000 if options.quick else PEOPLE
    with fresh_folder(options.stores, "automations") as folder:
        with contenders.headrace(folder, "api") as up, reading(folder) as reader:
            _known(up, folder, reader, count)
            _publish(up, EVENT, _delay())
            fill(up.port, up.api_key, everybody(count))
        _lead(folder, held=True)
        with working(folder) as pid, reading(folder) as reader:
            reader.wait_until_processed(START_S + count / PER_SECOND_MIN)
            before_s = _cpu_s(pid)
            _lead(folder, held=False)
            speed = _drained(reader, "SELECT count(*) FROM automation_runs", count)
            used_s = _cpu_s(pid) - before_s
    figures.add(SERIES, STARTS, SPEED, "1/s", speed)
    figures.add(SERIES, STARTS, CPU, "µs/run", used_s / count * 1e6)


def _measure_resumed(figures: Collector, options: Options) -> None:
    """Events at a fixed rate, each of which resumes a run that waits."""
    count = RATE * (options.seconds + options.warmup_s) * PEOPLE_PER_EVENT
    with fresh_folder(options.stores, "automations") as folder:
        _with_runs(folder, count, _wait(EVENT), lambda _: _now_us() + YEAR_US)
        with (
            contenders.headrace_serve(folder) as up,
            reading(folder) as reader,
            reading(folder) as watched,
            Watcher(watched) as watcher,
        ):
            before_s = up.server.cpu_s()
            at_rate(
                template.single(up.port, up.api_key),
                port=up.port,
                rate=RATE,
                seconds=options.seconds,
                warmup_s=options.warmup_s,
                work=folder,
                people=People(known=count),
            )
            reader_done = time.perf_counter() + START_S
            while reader.waiting() or reader.number("SELECT count(*) FROM automation_inbox"):
                if time.perf_counter() > reader_done:
                    raise LoadFailedError("events wait at the end of the load")
                time.sleep(POLL_S)
            used_s = up.server.cpu_s() - before_s
    took = watcher.took_ms(skip_s=options.warmup_s)
    figures.add(SERIES, RESUMED, P95, "ms", percentile_of(took, 95.0))
    figures.add(SERIES, RESUMED, P99, "ms", percentile_of(took, 99.0))
    figures.add(SERIES, RESUMED, "runs", "runs", len(took))
    figures.add(SERIES, RESUMED, CPU, "µs/run", used_s / max(1, len(watcher.seen)) * 1e6)


def _measure_timers(figures: Collector, options: Options) -> None:
    """Timers that are due evenly, and how late each one is."""
    count = RATE * options.seconds
    with fresh_folder(options.stores, "automations") as folder:
        base: list[int] = []

        def due_us(number: int) -> int:
            if not base:
                base.append(_now_us() + (LEAD_S + count // 10_000) * 1_000_000)
            return base[0] + number * 1_000_000 // RATE

        _with_runs(folder, count, _delay(), due_us)
        with (
            working(folder) as pid,
            reading(folder) as reader,
            reading(folder) as watched,
            Watcher(watched) as watcher,
        ):
            time.sleep(max(0.0, base[0] / 1e6 - time.time()))
            before_s = _cpu_s(pid)
            _await_ended(reader, count)
            used_s = _cpu_s(pid) - before_s
    took = watcher.took_ms()
    figures.add(SERIES, TIMERS, P99, "ms", percentile_of(took, 99.0))
    figures.add(SERIES, TIMERS, "p50", "ms", percentile_of(took, 50.0))
    figures.add(SERIES, TIMERS, CPU, "µs/run", used_s / count * 1e6)


def _measure_at_once(figures: Collector, options: Options) -> None:
    """Very many timers that are due at one moment, beside a load of other events."""
    count = 2_000 if options.quick else 100_000
    with (
        fresh_folder(options.stores, "automations") as folder,
        fresh_folder(options.stores, "beside") as work,
    ):
        _prepare(folder, count, _delay())
        at_us = _now_us() + (LEAD_S + count // 10_000) * 1_000_000
        _copy(folder, count, lambda _: at_us)
        with contenders.headrace_serve(folder) as up, reading(folder) as reader:
            latency: list[Any] = []

            def load() -> None:
                latency.append(
                    at_rate(
                        template.single(up.port, up.api_key),
                        port=up.port,
                        rate=RATE,
                        seconds=options.seconds,
                        warmup_s=max(options.warmup_s, int(at_us / 1e6 - time.time()) + 1),
                        work=work,
                        people=People(known=PEOPLE // 10),
                    )
                )

            beside = threading.Thread(target=load)
            beside.start()
            time.sleep(max(0.0, at_us / 1e6 - time.time()))
            before_s = up.server.cpu_s()
            speed = _drained(reader, _ENDED, count, at_us)
            used_s = up.server.cpu_s() - before_s
            beside.join()
    figures.add(SERIES, AT_ONCE, CPU, "µs/run, accepting included", used_s / count * 1e6)
    figures.add(SERIES, AT_ONCE, SPEED, "1/s", speed)
    for percentile, took_us in latency[0].percentiles:
        if percentile == 99.0:
            figures.add(SERIES, AT_ONCE, ACCEPT_P99, "ms", took_us / 1e3)


def _measure_waiting(point: str, figures: Collector, options: Options) -> None:
    """Memory and speed of a worker in a store with very many waiting runs, and with none."""
    count, events = options.contacts, 5_000 if options.quick else 20_000
    with fresh_folder(options.stores, "automations") as folder:
        _prepare(folder, PEOPLE // 10, _wait("awaited"))
        if point == WAITING:
            with reading(folder) as reader:
                strangers = [str(uuid.uuid4()) for _ in range(count)]
                later_us = _now_us() + YEAR_US
                copy_run(folder, reader, strangers, lambda _: later_us)
        with contenders.headrace(folder, "api") as up, reading(folder) as reader:
            after = reader.last_sequence()
            fill(up.port, up.api_key, anybody(PEOPLE // 10, events))
        with working(folder) as pid, reading(folder) as reader:
            reader.wait_until_processed(START_S + events / PER_SECOND_MIN)
            _, speed = reader.processed_per_second(after)
            used_s = _cpu_s(pid)
            # Once more: the runner looks at what is due now and then.
            time.sleep(2)
            memory = Server(pid=pid, port=0, ready_after_s=0).memory().pss_bytes
    figures.add(SERIES, point, MEMORY, "MB", memory / 1e6)
    figures.add(SERIES, point, SPEED, "1/s", speed)
    figures.add(SERIES, point, CPU, "µs/event", used_s / events * 1e6)


# Stores.


def _wait(event: str) -> dict[str, Any]:
    config = {"event_name": event, "timeout_seconds": 365 * DAY_S}
    return {"key": "step", "type": "wait_for_event", "config": config}


def _delay() -> dict[str, Any]:
    return {"key": "step", "type": "delay", "config": {"seconds": DAY_S}}


def _publish(up: Running, trigger: str, step: dict[str, Any]) -> None:
    definition = {
        "trigger": {"event_name": trigger},
        "steps": [step],
        "connections": [{"from": "trigger", "to": "step"}],
    }
    made = _ask(up, "/automations", {"name": trigger, "definition": definition})
    _ask(up, f"/automations/{made['data']['id']}/publish", {})


def _ask(up: Running, path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"http://{HOST}:{up.port}{path}",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {up.api_key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=ANSWER_WITHIN_S) as answer:  # noqa: S310 as above
        return json.loads(answer.read())


def _known(up: Running, folder: Path, reader: StoreReader, people: int) -> None:
    """Make the people, and process what that has caused."""
    fill(up.port, up.api_key, everybody(people))
    with working(folder):
        reader.wait_until_processed(START_S + people / PER_SECOND_MIN)


def _prepare(folder: Path, people: int, step: dict[str, Any]) -> None:
    """A store with people and one waiting run, which no process works on."""
    with contenders.headrace(folder, "api") as up, reading(folder) as reader:
        _known(up, folder, reader, people)
        _publish(up, "bench.begin", step)
        _ask(up, "/events", {"event": "bench.begin", "external_id": "somebody"})
        with working(folder):
            waiting = "SELECT count(*) FROM automation_runs WHERE status = 'waiting'"
            give_up = time.perf_counter() + START_S
            while reader.number(waiting) < 1:
                if time.perf_counter() > give_up:
                    raise LoadFailedError("no run has started")
                time.sleep(POLL_S)
            reader.wait_until_processed(START_S)


def _copy(folder: Path, count: int, due_us: Callable[[int], int]) -> None:
    with reading(folder) as reader:
        copy_run(folder, reader, contacts_of(reader, count), due_us)


def _with_runs(
    folder: Path, count: int, step: dict[str, Any], due_us: Callable[[int], int]
) -> None:
    """People who each have one waiting run."""
    _prepare(folder, count, step)
    _copy(folder, count, due_us)


def _lead(folder: Path, *, held: bool) -> None:
    """Keep the worker from running automations, or let it."""
    until_us = _now_us() + DAY_S * 1_000_000 if held else 0
    databases = shared()
    write = (
        "INSERT INTO leader_leases (name, owner, epoch, lease_until_us) "
        f"VALUES ('automations', 'bench', 1, {until_us}) "
        "ON CONFLICT (name) DO UPDATE SET owner = 'bench', "
        f"lease_until_us = {until_us}"
    )
    if databases is not None:
        databases.server.run_sql(databases.name(folder.resolve()), write)
        return
    connection = apsw.Connection(str(folder / DATABASE), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(5000)
    try:
        connection.execute(write)
    finally:
        connection.close()


def _now_us() -> int:
    return time.time_ns() // 1000


def _cpu_s(pid: int) -> float:
    return Server(pid=pid, port=0, ready_after_s=0).cpu_s()


# Watching.

_ENDED = "SELECT count(*) FROM automation_runs WHERE finished_us IS NOT NULL"


def _drained(reader: StoreReader, count: str, wanted: int, from_us: int | None = None) -> float:
    """How many a second, from `from_us` or the first that is seen until all are there."""
    give_up = time.perf_counter() + START_S + wanted / PER_SECOND_MIN
    first: tuple[float, int] | None = None if from_us is None else (from_us / 1e6, 0)
    while True:
        done, now = reader.number(count), time.time()
        if done and first is None:
            first = (now, done)
        if done >= wanted and first is not None:
            return (done - first[1]) / max(0.001, now - first[0])
        if time.perf_counter() > give_up:
            raise LoadFailedError(f"{done} of {wanted} runs")
        time.sleep(POLL_S)


def _await_ended(reader: StoreReader, count: int) -> None:
    give_up = time.perf_counter() + START_S + count / PER_SECOND_MIN
    while (done := reader.number(_ENDED)) < count:
        if time.perf_counter() > give_up:
            raise LoadFailedError(f"{done} of {count} runs have ended")
        time.sleep(POLL_S * 10)


class Watcher:
    """Records when each ended run is first seen, over a connection of its own.

    The end of a run has the time of the event or timer that ended it.
    """

    def __init__(self, reader: StoreReader) -> None:
        #: Id of a run to the time seen and the time of its end.
        self.seen: dict[str, tuple[int, int]] = {}
        self._reader = reader
        self._ended = threading.Event()
        self._newest_us = 0
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(POLL_S / 2):
            rows: Sequence[Any] = self._reader.rows(
                "SELECT id, finished_us FROM automation_runs WHERE project_id = 1 "
                "AND finished_us > ? ORDER BY finished_us LIMIT 20000",
                self._newest_us - DISORDER_US,
            )
            now_us = _now_us()
            for run_id, finished_us in rows:
                if run_id not in self.seen:
                    self.seen[run_id] = (now_us, finished_us)
                    self._newest_us = max(self._newest_us, finished_us)

    def took_ms(self, skip_s: float = 0) -> list[float]:
        """How long after its event or timer each run was seen, in order of length.

        Raises:
            LoadFailedError: none was seen.
        """
        if not self.seen:
            raise LoadFailedError("no run was seen to end")
        first_us = min(finished_us for _, finished_us in self.seen.values())
        return sorted(
            (seen_us - finished_us) / 1e3
            for seen_us, finished_us in self.seen.values()
            if finished_us >= first_us + skip_s * 1e6
        )


# Results.


def _comparisons(figures: Collector) -> tuple[Comparison, ...]:
    def one(what: str, unit: str, rounds: Any, bar: float, goal: float) -> Comparison:
        better = Better.HIGHER if goal >= bar else Better.LOWER
        return Comparison(what=what, unit=unit, rounds=rounds, bar=bar, goal=goal, better=better)

    def rounds(point: str, metric: str) -> tuple[float, ...]:
        return figures.row(SERIES, point, metric).rounds

    def pair(metric: str, points: tuple[str, str]) -> tuple[float, ...]:
        reference, measured = (figures.row(SERIES, point, metric) for point in points)
        return ratios(measured, reference)

    more_mb = rounds(WAITING, MEMORY)[-1] - rounds(EMPTY, MEMORY)[-1]
    late = (1_000, 300) if shared() is None else (3_000, 1_500)
    return (
        one(
            "events that no automation waits for, share of the speed without automations",
            "ratio",
            pair(SPEED, (NONE, OTHERS)),
            0.97,
            1.0,
        ),
        one("the same, CPU per event", "ratio", pair(CPU, (NONE, OTHERS)), 1.03, 1.0),
        one("runs started", "1/s", rounds(STARTS, SPEED), 3_000, 8_000),
        one(f"wait resumed p95 at {RATE:,} events/s", "ms", rounds(RESUMED, P95), 300, 80),
        one(f"timer lateness p99 at {RATE:,} due/s", "ms", rounds(TIMERS, P99), *late),
        one("runs due at once, drained", "1/s", rounds(AT_ONCE, SPEED), 3_000, 8_000),
        one("accept p99 beside it", "ms", rounds(AT_ONCE, ACCEPT_P99), 20, 8),
        one("memory for waiting runs", "MB", (more_mb,), 30, 10),
        one(
            "events processed beside waiting runs",
            "ratio",
            pair(SPEED, (EMPTY, WAITING)),
            0.95,
            1.0,
        ),
    )


def _chart(figures: Collector) -> Bars:
    points = (STARTS, AT_ONCE)
    return Bars(
        title="Runs that one worker starts, and ends, a second",
        unit="1/s",
        groups=points,
        series={SERIES: tuple(figures.row(SERIES, point, SPEED).rounds for point in points)},
    )


SCENARIO = Scenario(
    name="automations",
    title="Automations",
    method=(
        "Events nobody waits for: interleaved pairs of a backlog without automations and with "
        f"{AUTOMATIONS} active ones of other events. Starts: events wait in the inbox of the "
        "runner, each starts a run with a delay; from the first run to the last. Resumed: "
        f"{RATE:,} events a second to headrace serve, most of them for a person whose run waits; "
        "from the receipt of the event until a reader sees the end of the run. Timers: "
        f"{RATE:,} are due each second; from the due time until a reader sees the end. All at "
        "once: 100,000 are due at one moment while headrace serve accepts "
        f"{RATE:,} other events a second. Memory: a worker that has processed a backlog in a store "
        "with 1,000,000 waiting runs, against one with one. Waiting runs are copies of a real one, "
        "written with SQL."
    ),
    run=run,
    stores=frozenset(StoreKind),
)
