"""How fast is mail sent, and what does it cost deliveries and processing beside it?"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from bench import contenders
from bench.collector import Collector
from bench.contenders import Running, fresh_folder
from bench.headrace_server import working
from bench.load.fill import anybody, everybody, fill
from bench.load.wrk import LoadFailedError
from bench.options import Options
from bench.processes import HOST, background, cpu_s, free_port
from bench.results import Bars, Better, Comparison, Outcome, ratios
from bench.scenario import Progress, Scenario
from bench.store_reader import StoreReader, reading
from bench.stores import StoreKind, store_url
from bench.webhooks import ENVIRONMENT, HEALTHY, receiving, subscribe
from headrace.delivery.mail.dkim import new_dkim_key
from headrace.stores import open_store

SERIES = "headrace worker"
DOMAIN = "example.org"
UNSIGNED, SIGNED = "unsigned", "signed with DKIM"
MAILS = "mails"
ALONE, BESIDE_MAIL = "alone", "beside mail"
NO_MESSAGES, MESSAGES_WAIT = "no messages", "10,000 messages wait"
DELIVERED, PROCESSED = "deliveries", "processing"
#: Mails a second that a send to an audience creates beside the deliveries: 430,000 a day.
BESIDE_PER_SECOND = 5
WAITING = 10_000
#: Domains of recipients, so that no receiver is paced.
RECEIVERS = 50
BATCH = 1_000
#: Of the send beside the deliveries: enough for all pairs.
RECIPIENTS = 5_000
#: Whose events are processed.
PEOPLE = 20_000
PAIRS = 10
HTML = "<p>" + "It is on its way, and will be with you soon. " * 40 + "</p>"
TEXT = "It is on its way, and will be with you soon.\n" * 40
#: Sending is abandoned below this speed.
PER_SECOND_MIN = 10
START_S = 30
POLL_S = 0.1
ANSWER_WITHIN_S = 60
#: Measures one round of so many events.
Measure = Callable[[int, Collector], None]


def run(options: Options, progress: Progress) -> Outcome:
    """Speed in every round; then pairs of deliveries and of processing with and without mail."""
    figures = Collector()
    mails = options.deliveries // 10
    for number in range(1, options.rounds + 1):
        for point in (UNSIGNED, SIGNED):
            _measure_mails(point, mails, figures, options)
            progress(f"round {number}: {point}: {_last(figures, point, MAILS):,.0f} mails/s")
    pairs = 1 if options.quick else PAIRS
    with _delivering(options) as measured:
        for number in range(1, pairs + 1):
            for point in _in_turn(measured, number):
                measured[point](mails, figures)
                speed = _last(figures, point, DELIVERED)
                progress(f"pair {number}: deliveries {point}: {speed:,.0f}/s")
    with _processing(options) as measured:
        for number in range(1, pairs + 1):
            for point in _in_turn(measured, number):
                measured[point](mails * 20, figures)
                speed = _last(figures, point, PROCESSED)
                progress(f"pair {number}: processing, {point}: {speed:,.0f}/s")
    return Outcome(
        rows=figures.rows(), comparisons=_comparisons(figures), charts=(_chart(figures),)
    )


def _in_turn(points: Iterable[str], number: int) -> Iterable[str]:
    # Each comes first in turn, so that what drifts affects both alike.
    return list(points)[:: 1 if number % 2 else -1]


def _last(figures: Collector, point: str, metric: str) -> float:
    return figures.row(SERIES, point, metric).rounds[-1]


def _measure_mails(point: str, mails: int, figures: Collector, options: Options) -> None:
    """Accept e-mails without a worker, then let one send them all."""
    with fresh_folder(options.stores, "mail") as folder, _sink(folder) as relay:
        _people(folder, mails)
        with contenders.headrace(folder, "api", relay) as up:
            _domain(folder, signed=point == SIGNED)
            for start in range(0, mails, BATCH):
                _send(up, range(start, min(mails, start + BATCH)))
        with working(folder, relay), reading(folder) as reader:
            _wait(reader, "SELECT count(*) FROM messages WHERE state = 'sent'", mails)
            (first_us, last_us), *_ = reader.rows(
                "SELECT min(handed_us), max(sent_us) FROM messages"
            )
    figures.add(SERIES, point, MAILS, "1/s", mails / (last_us - first_us) * 1e6)


@contextmanager
def _delivering(options: Options) -> Iterator[dict[str, Measure]]:
    """Two stores with a webhook, one of which also sends mail; how to measure each."""
    with ExitStack() as stack:
        measured: dict[str, Measure] = {}
        for point in (ALONE, BESIDE_MAIL):
            folder = stack.enter_context(fresh_folder(options.stores, f"mail-{len(measured)}"))
            receiver = stack.enter_context(receiving(folder))
            env = {**ENVIRONMENT, **stack.enter_context(_sink(folder))}
            with contenders.headrace(folder, "api", env) as up:
                body = _audience(up)
            _drain(folder, RECIPIENTS * 2)
            with contenders.headrace(folder, "api", env) as up:
                _domain(folder, signed=True)
                subscribe(up.port, up.api_key, receiver, HEALTHY, 0)
                if point == BESIDE_MAIL:
                    _ask(up, "/emails", body | {"per_second": BESIDE_PER_SECOND})
            measured[point] = partial(_measure_deliveries, point, folder, env)
        yield measured


def _measure_deliveries(
    point: str, folder: Path, env: dict[str, str], events: int, figures: Collector
) -> None:
    """A backlog of deliveries, alone or while a paced send makes and sends mail."""
    with contenders.headrace(folder, "api", env) as up, reading(folder) as reader:
        after = reader.last_sequence()
        mails = reader.number("SELECT count(*) FROM messages")
        fill(up.port, up.api_key, everybody(events))
    with working(folder, env) as pid, reading(folder) as reader:
        delivered = "SELECT count(*) FROM deliveries WHERE state = 3 AND sequence > ?"
        cpu_us = _work(reader, pid, delivered, after, events)
        (first_us, last_us), *_ = reader.rows(
            "SELECT min(created_us), max(finished_us) FROM deliveries WHERE sequence > ?", after
        )
        if point == BESIDE_MAIL and reader.number("SELECT count(*) FROM messages") == mails:
            raise LoadFailedError("no mail was created beside the deliveries")
    figures.add(SERIES, point, DELIVERED, "1/s", events / (last_us - first_us) * 1e6)
    figures.add(SERIES, point, f"{DELIVERED}, CPU of each", "µs", cpu_us)


@contextmanager
def _processing(options: Options) -> Iterator[dict[str, Measure]]:
    """Two stores, in one of which messages wait; how to measure each."""
    with ExitStack() as stack:
        measured: dict[str, Measure] = {}
        for point in (NO_MESSAGES, MESSAGES_WAIT):
            folder = stack.enter_context(fresh_folder(options.stores, f"mail-{len(measured)}"))
            _people(folder, WAITING)
            if point == MESSAGES_WAIT:
                with contenders.headrace(folder, "api") as up:
                    for start in range(0, WAITING, BATCH):
                        _send(up, range(start, start + BATCH), later=True)
                _drain(folder, WAITING)
            measured[point] = partial(_measure_processing, point, folder)
        yield measured


def _measure_processing(point: str, folder: Path, events: int, figures: Collector) -> None:
    """A backlog of events that concern no mail."""
    with contenders.headrace(folder, "api") as up, reading(folder) as reader:
        after = reader.last_sequence()
        # The same people each time: only the first round creates contacts.
        fill(up.port, up.api_key, anybody(PEOPLE, events))
    processed = f"SELECT {events} - count(*) FROM event_queue WHERE sequence > ?"
    with working(folder) as pid, reading(folder) as reader:
        cpu_us = _work(reader, pid, processed, after, events)
        _, speed = reader.processed_per_second(after)
    figures.add(SERIES, point, PROCESSED, "1/s", speed)
    figures.add(SERIES, point, f"{PROCESSED}, CPU of each", "µs", cpu_us)


def _work(reader: StoreReader, pid: int, done: str, after: int, wanted: int) -> float:
    """Wait until `done` counts `wanted`; CPU time of the worker for each, in microseconds.

    Without the start of the worker, which takes as long as thousands of events.
    """
    began, began_s = 0, 0.0
    give_up = time.perf_counter() + START_S + wanted / PER_SECOND_MIN
    while (count := reader.number(done, after)) < wanted:
        if count and not began:
            began, began_s = count, cpu_s(pid)
        if time.perf_counter() > give_up:
            raise LoadFailedError(f"{count} of {wanted} in time")
        time.sleep(POLL_S)
    return (cpu_s(pid) - began_s) / (wanted - began) * 1e6


@contextmanager
def _sink(folder: Path) -> Iterator[dict[str, str]]:
    """Run the relay until the block ends; yields the settings that name it."""
    port = free_port()
    command = [sys.executable, "-m", "bench.load.mail_sink", f"--port={port}"]
    with background(command, log=folder / "sink.log"):
        give_up = time.perf_counter() + START_S
        while True:
            try:
                socket.create_connection((HOST, port), timeout=1).close()
                break
            except OSError:
                if time.perf_counter() > give_up:
                    raise LoadFailedError("the mail sink does not listen") from None
                time.sleep(POLL_S)
        yield {"HEADRACE_MAIL_RELAY": f"smtp://{HOST}:{port}"}


def _domain(folder: Path, *, signed: bool) -> None:
    """A verified domain, with or without a key."""

    async def work() -> None:
        store = await open_store(store_url(folder), serve=False, create=False)
        project, *_ = await store.projects.list()
        pem = new_dkim_key(DOMAIN, "bench").private_pem.decode() if signed else ""
        await store.messages.domains.create(
            project.id,
            DOMAIN,
            store.clock_us(),
            dkim=("bench", pem),
            verified_by="bench",
            actor="bench",
        )
        await store.close()

    asyncio.run(work())


def _people(folder: Path, count: int) -> None:
    """Contacts of the recipients, whose events are processed before anything is measured."""
    with contenders.headrace(folder, "api") as up:
        for start in range(0, count, BATCH):
            people = [{"email": _address(number)} for number in range(start, start + BATCH)]
            _ask(up, "/contacts/batch", {"contacts": people})
    _drain(folder, count)


def _drain(folder: Path, events: int) -> None:
    """Process what setting up has caused, so that it is not measured."""
    with working(folder), reading(folder) as reader:
        reader.wait_until_processed(START_S + events / PER_SECOND_MIN)


def _address(number: int) -> str:
    return f"p{number}@r{number % RECEIVERS}.example"


def _send(up: Running, numbers: range, *, later: bool = False) -> None:
    """Mail to one person each; `later`: scheduled, so that it only waits."""
    at = {"scheduled_at": (datetime.now(UTC) + timedelta(days=9)).isoformat()} if later else {}
    emails = [
        {
            "from": f"Shop <news@{DOMAIN}>",
            "to": [_address(number)],
            "subject": f"Your order {number}",
            "text": TEXT,
            "html": HTML,
            **at,
        }
        for number in numbers
    ]
    answer = _ask(up, "/emails/batch", {"emails": emails})
    if any(one["status"] != 201 for one in answer["data"]):
        raise LoadFailedError("e-mails were rejected")


def _audience(up: Running) -> dict[str, Any]:
    """An audience, large enough to get mail for longer than a measurement lasts; its e-mail."""
    audience = _ask(up, "/audiences", {"name": "All"})["data"]["id"]
    for start in range(0, RECIPIENTS, BATCH):
        people = [{"email": _address(number)} for number in range(start, start + BATCH)]
        made = _ask(up, "/contacts/batch", {"contacts": people})
        ids = [one["data"]["id"] for one in made["data"]]
        _ask(up, f"/audiences/{audience}/contacts", {"contact_ids": ids})
    topic = _ask(up, "/topics", {"name": "News", "default_subscribed": True})["data"]["id"]
    body: dict[str, Any] = {"from": f"news@{DOMAIN}", "audiences": [audience]}
    body |= {"kind": "marketing"}
    return body | {"subject": "News", "text": TEXT, "html": HTML, "topic_id": topic}


def _ask(up: Running, path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"http://{HOST}:{up.port}{path}",
        data=msgspec.json.encode(body),
        headers={"Authorization": f"Bearer {up.api_key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=ANSWER_WITHIN_S) as answer:  # noqa: S310 as above
        return msgspec.json.decode(answer.read())


def _wait(reader: StoreReader, count: str, wanted: int) -> None:
    """Return once the statement counts this many.

    Raises:
        LoadFailedError: it took too long.
    """
    seconds_max = START_S + wanted / PER_SECOND_MIN
    give_up = time.perf_counter() + seconds_max
    while (done := reader.number(count)) < wanted:
        if time.perf_counter() > give_up:
            raise LoadFailedError(f"{done} of {wanted} after {seconds_max:.0f} s")
        time.sleep(POLL_S)


def _comparisons(figures: Collector) -> tuple[Comparison, ...]:
    def speed(point: str, bar: float, goal: float) -> Comparison:
        return Comparison(
            what=f"mails handed to a local relay, {point}",
            unit="1/s",
            rounds=figures.row(SERIES, point, MAILS).rounds,
            bar=bar,
            goal=goal,
            better=Better.HIGHER,
        )

    def ratio(what: str, metric: str, points: tuple[str, str], bar: float) -> Comparison:
        reference, measured = (figures.row(SERIES, point, metric) for point in points)
        return Comparison(
            what=what,
            unit="ratio",
            rounds=ratios(measured, reference),
            bar=bar,
            goal=1.0,
            better=Better.HIGHER,
        )

    return (
        speed(UNSIGNED, 150, 400),
        speed(SIGNED, 80, 400),
        ratio(
            f"deliveries beside {BESIDE_PER_SECOND} mails/s",
            DELIVERED,
            (ALONE, BESIDE_MAIL),
            0.95,
        ),
        ratio(
            f"CPU of an event while {WAITING:,} messages wait, without them against with",
            f"{PROCESSED}, CPU of each",
            (MESSAGES_WAIT, NO_MESSAGES),
            0.97,
        ),
        ratio(
            f"events processed while {WAITING:,} messages wait",
            PROCESSED,
            (NO_MESSAGES, MESSAGES_WAIT),
            0.97,
        ),
    )


def _chart(figures: Collector) -> Bars:
    points = (UNSIGNED, SIGNED)
    return Bars(
        title="Mails a second handed to a local relay by one worker",
        unit="1/s",
        groups=points,
        series={SERIES: tuple(figures.row(SERIES, point, MAILS).rounds for point in points)},
    )


SCENARIO = Scenario(
    name="mail",
    title="Mail",
    method=(
        "The relay is a small SMTP server of its own on the same machine that takes every mail at "
        "once. Speed: transactional e-mails with text and HTML of 2 KB are stored by headrace api; "
        "one headrace worker composes, guards, hands over and records them over 4 connections; "
        "from the first hand-over to the last recorded one. Deliveries: a backlog for one webhook, "
        f"alone and while a send to an audience creates {BESIDE_PER_SECOND} signed mails a second. "
        f"Processing: a backlog of events, without messages and while {WAITING:,} scheduled "
        "messages wait. Ratios are of interleaved pairs on stores that live through all of them; "
        "CPU is that of the worker's processes, without its start, and comparable on a busy "
        "machine."
    ),
    run=run,
    stores=frozenset(StoreKind),
)
