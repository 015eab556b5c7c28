"""How fast are pushes handed to push services, and how long does a registration take?"""

from __future__ import annotations

import base64
import os
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bench import contenders
from bench.collector import Collector
from bench.contenders import Running, fresh_folder
from bench.headrace_server import working
from bench.load import template
from bench.load.fixed_rate import at_rate
from bench.load.wrk import LoadFailedError
from bench.options import Options
from bench.processes import HOST, background, free_port
from bench.results import Bars, Better, Comparison, Outcome
from bench.scenario import Progress, Scenario
from bench.store_reader import StoreReader, reading
from bench.stores import StoreKind

SERIES = "headrace worker"
DEVICES = "one device each"
PUSHES = "pushes"
BAR, GOAL = 300, 1000
BATCH = 500
REGISTERING = "headrace serve"
REGISTER_RATE = 500
REGISTER_POINT = f"{REGISTER_RATE}/s"
REGISTER_P99, REGISTER_BAR_MS, REGISTER_GOAL_MS = "register p99", 20, 10
#: Sending is abandoned below this speed.
PER_SECOND_MIN = 10
START_S = 30
POLL_S = 0.1
ANSWER_WITHIN_S = 60


def run(options: Options, progress: Progress) -> Outcome:
    """Speed of sending and time of registering in every round."""
    figures = Collector()
    for number in range(1, options.rounds + 1):
        _measure(options.deliveries // 10, figures, options)
        speed = figures.row(SERIES, DEVICES, PUSHES).rounds[-1]
        progress(f"round {number}: {speed:,.0f} pushes/s")
        _measure_registering(figures, options)
        took = figures.row(REGISTERING, REGISTER_POINT, REGISTER_P99).rounds[-1]
        progress(f"round {number}: registering at {REGISTER_RATE}/s: p99 {took:.2f} ms")
    return Outcome(
        rows=figures.rows(),
        comparisons=(
            Comparison(
                what="pushes a second, encrypted and handed over by one worker",
                unit="1/s",
                rounds=figures.row(SERIES, DEVICES, PUSHES).rounds,
                bar=BAR,
                goal=GOAL,
                better=Better.HIGHER,
            ),
            Comparison(
                what=f"register p99 at {REGISTER_RATE} requests/s, worker running",
                unit="ms",
                rounds=figures.row(REGISTERING, REGISTER_POINT, REGISTER_P99).rounds,
                bar=REGISTER_BAR_MS,
                goal=REGISTER_GOAL_MS,
                better=Better.LOWER,
            ),
        ),
        charts=(
            Bars(
                title="Pushes a second handed to a local service by one worker",
                unit="1/s",
                groups=(DEVICES,),
                series={SERIES: (figures.row(SERIES, DEVICES, PUSHES).rounds,)},
            ),
        ),
    )


def _measure(pushes: int, figures: Collector, options: Options) -> None:
    """Register devices and accept pushes without a worker, then let one send them all."""
    with fresh_folder(options.stores, "push") as folder, _sink(folder) as env:
        with contenders.headrace(folder, "api", env) as up:
            app_id = _ask(up, "/push/apps", {"name": "Bench"})["data"]["id"]
            devices = [_register(up, env, app_id, number) for number in range(pushes)]
            for start in range(0, pushes, BATCH):
                body = {
                    "app_id": app_id,
                    "device_ids": devices[start : start + BATCH],
                    "notification": {"title": "Your order", "body": "It is on its way. " * 10},
                }
                _ask(up, "/push/notifications", body)
        with working(folder, env), reading(folder) as reader:
            _wait(reader, "SELECT count(*) FROM push_notifications WHERE state = 'sent'", pushes)
            (first_us, last_us), *_ = reader.rows(
                "SELECT min(handed_us), max(sent_us) FROM messages"
            )
    figures.add(SERIES, DEVICES, PUSHES, "1/s", pushes / (last_us - first_us) * 1e6)


def _measure_registering(figures: Collector, options: Options) -> None:
    """Register websites at a fixed rate, with a new address and a new person each."""
    env = {
        "HEADRACE_PUSH_HOSTS": f"http://{HOST}:8090",
        "HEADRACE_PUSH_REGISTRATIONS_MAX": "1000000",
        "HEADRACE_WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8",
    }
    with (
        fresh_folder(options.stores, "register") as folder,
        contenders.headrace(folder, "serve", env) as up,
    ):
        app_id = _ask(up, "/push/apps", {"name": "Bench"})["data"]["id"]
        p256dh, auth = _keys()
        origin = env["HEADRACE_PUSH_HOSTS"]
        latency = at_rate(
            template.register(up.port, app_id, origin, p256dh, auth),
            port=up.port,
            rate=REGISTER_RATE,
            seconds=options.seconds,
            warmup_s=options.warmup_s,
            work=folder,
        )
    shown = {50.0: "register p50", 99.0: REGISTER_P99, 100.0: "register max"}
    for percentile, took_us in latency.percentiles:
        if percentile in shown:
            figures.add(REGISTERING, REGISTER_POINT, shown[percentile], "ms", took_us / 1e3)
    figures.add(REGISTERING, REGISTER_POINT, "unanswered", "requests", latency.unanswered)


def _register(up: Running, env: dict[str, str], app_id: str, number: int) -> str:
    p256dh, auth = _keys()
    device_id = f"00000000-0000-4000-8000-{number:012d}"
    body = {
        "app_id": app_id,
        "platform": "web",
        "device_id": device_id,
        "environment": "production",
        "permission_status": "authorized",
        "subscribed": True,
        "web_push_subscription": {
            "endpoint": f"{env['HEADRACE_PUSH_HOSTS']}/push/{number}",
            "keys": {"p256dh": p256dh, "auth": auth},
        },
    }
    _ask(up, "/v1/register", body)
    return device_id


def _keys() -> tuple[str, str]:
    """`p256dh` and `auth` of a new subscription."""
    point = ec.generate_private_key(ec.SECP256R1()).public_key()
    p256dh = point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return _coded(p256dh), _coded(os.urandom(16))


def _coded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


@contextmanager
def _sink(folder: Path) -> Iterator[dict[str, str]]:
    """Run the push service until the block ends; yields the settings that allow it."""
    port = free_port()
    command = [sys.executable, "-m", "bench.load.push_sink", f"--port={port}"]
    with background(command, log=folder / "sink.log"):
        give_up = time.perf_counter() + START_S
        while True:
            try:
                socket.create_connection((HOST, port), timeout=1).close()
                break
            except OSError:
                if time.perf_counter() > give_up:
                    raise LoadFailedError("the push sink does not listen") from None
                time.sleep(POLL_S)
        yield {
            "HEADRACE_PUSH_HOSTS": f"http://{HOST}:{port}",
            "HEADRACE_PUSH_REGISTRATIONS_MAX": "1000000",
            "HEADRACE_WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8",
        }


def _ask(up: Running, path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"http://{HOST}:{up.port}{path}",
        data=msgspec.json.encode(body),
        headers={"Authorization": f"Bearer {up.api_key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=ANSWER_WITHIN_S) as answer:  # noqa: S310 as above
        return msgspec.json.decode(answer.read())


def _wait(reader: StoreReader, question: str, count: int) -> None:
    give_up = time.perf_counter() + START_S + count / PER_SECOND_MIN
    while (done := reader.number(question)) < count:
        if time.perf_counter() > give_up:
            message = f"{done} of {count} were sent in time"
            raise LoadFailedError(message)
        time.sleep(POLL_S)


SCENARIO = Scenario(
    name="push",
    title="Push",
    method=(
        "The push service is a small HTTP server of its own on the same machine that takes every "
        "push at once. Devices register and pushes to one device each are stored by headrace api; "
        "one headrace worker claims, guards, encrypts, hands over and records them over 32 "
        "connections; from the first hand-over to the last recorded one. Then websites register at "
        f"{REGISTER_RATE} requests/s with headrace serve, evenly spaced whatever the server does, "
        "each a device with a new address and the login of a new person; measured from when a "
        "request was due."
    ),
    run=run,
    stores=frozenset(StoreKind),
)
