"""Runs the open-loop generator in its own process."""

from __future__ import annotations

import secrets
import subprocess
import sys
from pathlib import Path

import msgspec

from bench.load.open_loop import DRAIN_S, Latency
from bench.load.template import Template
from bench.load.wrk import LoadFailedError

CONNECTIONS = 64
#: For starting Python and opening the connections.
EXTRA_S = 20


def at_rate(
    template: Template, *, port: int, rate: int, seconds: int, warmup_s: int, work: Path
) -> Latency:
    """Send `rate` single events a second, evenly spaced, and return the latencies.

    Raises:
        LoadFailedError: an answer was not 202.
    """
    options = {
        "template": template.write(work / "request.template"),
        "port": port,
        "rate": rate,
        "seconds": seconds,
        "warmup": warmup_s,
        "connections": CONNECTIONS,
        "seed": secrets.randbits(31),
    }
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
    if set(latency.statuses) != {"202"}:
        raise LoadFailedError(f"answers at {rate}/s by status: {latency.statuses}")
    return latency
