"""Runs the open-loop generator in its own process."""

from __future__ import annotations

import secrets
import subprocess
import sys
from pathlib import Path

import msgspec

from bench.load.open_loop import DRAIN_S, Latency, People
from bench.load.template import Template
from bench.load.wrk import LoadFailedError

CONNECTIONS = 64
#: For starting Python and opening the connections.
EXTRA_S = 20


def at_rate(
    template: Template,
    *,
    port: int,
    rate: int,
    seconds: int,
    warmup_s: int,
    work: Path,
    people: People | None = None,
    sent: Path | None = None,
) -> Latency:
    """Send `rate` requests a second, evenly spaced, and return the latencies.

    Args:
        work: folder for the template's file.
        sent: file for the idempotency key and the due time of every measured request, the time
            in microseconds since 1970.

    Raises:
        LoadFailedError: a response had another status than the template's.
    """
    options: dict[str, object] = {
        "template": template.write(work / "request.template"),
        "port": port,
        "rate": rate,
        "seconds": seconds,
        "warmup": warmup_s,
        "connections": CONNECTIONS,
        "seed": secrets.randbits(31),
    }
    if people is not None:
        options["known"] = people.known
        options["new-percent"] = people.new_percent
        options["new-from"] = people.new_from
    if sent is not None:
        options["sent"] = sent
    command = [sys.executable, "-m", "bench.load.open_loop"]
    command += [f"--{name}={value}" for name, value in options.items()]
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=warmup_s + seconds + DRAIN_S + EXTRA_S,
    )
    latency = msgspec.json.decode(done.stdout, type=Latency)
    if set(latency.statuses) != {str(template.status)}:
        raise LoadFailedError(f"answers at {rate}/s by status: {latency.statuses}")
    return latency
