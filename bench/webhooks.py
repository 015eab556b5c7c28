"""Subscribers of the measured service, and their receiver."""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bench.processes import HOST, free_port, running

#: Name of all events of the loads; without system events.
EVENTS = ("order.*",)
HEALTHY, DEAD, REFUSING = "ok", "dead", "refusing"
#: The receiver is on loopback, which webhooks may not call unless an operator says so.
ENVIRONMENT = {"HEADRACE_WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8"}
ANSWER_WITHIN_S = 30


@contextmanager
def receiving(folder: Path) -> Iterator[int]:
    """Run the receiver until the block ends; yields its port."""
    port = free_port()
    command = [sys.executable, "-m", "bench.load.receiver", f"--port={port}"]
    log = folder / "receiver.log"
    with running(command, port=port, ready_path="/count", log=log, env={}):
        yield port


def received(receiver_port: int) -> int:
    """How many deliveries the receiver has answered."""
    with urllib.request.urlopen(
        f"http://{HOST}:{receiver_port}/count", timeout=ANSWER_WITHIN_S
    ) as answer:
        return int(answer.read())


def subscribe(port: int, api_key: str, receiver_port: int, kind: str, number: int) -> str:
    """Make a webhook; returns its id."""
    url = f"http://{HOST}:{receiver_port}/{kind}/{number}"
    request = urllib.request.Request(
        f"http://{HOST}:{port}/webhooks",
        data=msgspec.json.encode({"url": url, "events": EVENTS}),
        headers={"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=ANSWER_WITHIN_S) as answer:  # noqa: S310 as above
        made: str = msgspec.json.decode(answer.read())["data"]["id"]
    return made
