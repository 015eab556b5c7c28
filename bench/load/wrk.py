"""Closed-loop load: as many requests as the connections can carry, by wrk."""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path

import msgspec

from bench.load.template import Template
from bench.processes import HOST

SCRIPT = Path(__file__).with_name("accept.lua")
#: For opening the connections and for responses still in flight at the end.
EXTRA_S = 30


class LoadFailedError(RuntimeError):
    """Responses to a load were wrong, so its figures mean nothing."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """Result of wrk."""

    requests: int
    duration_us: int
    #: Responses outside 2xx and 3xx.
    refused: int
    #: Connections that failed, and requests without a response in time.
    broken: int
    p50_us: int
    p99_us: int
    max_us: int

    @property
    def per_second(self) -> float:
        """Answered requests a second."""
        return self.requests / (self.duration_us / 1e6)


def press(template: Template, *, port: int, connections: int, seconds: int, work: Path) -> Load:
    """Load the server on `port` for `seconds`; `work` is a folder for the template's file.

    Raises:
        LoadFailedError: a response was an error, or a request got none.
    """
    command = [
        "wrk",
        "--threads=1",
        f"--connections={connections}",
        f"--duration={seconds}s",
        "--timeout=10s",
        f"--script={SCRIPT}",
        f"http://{HOST}:{port}/",
        "--",
        str(template.write(work / "request.template")),
        str(secrets.randbits(31)),
    ]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, timeout=seconds + EXTRA_S
    )
    load = msgspec.json.decode(done.stdout.splitlines()[-1], type=Load)
    if load.refused or load.broken or not load.requests:
        raise LoadFailedError(
            f"{load.requests} answers, {load.refused} of them refused, "
            f"{load.broken} requests broken"
        )
    return load
