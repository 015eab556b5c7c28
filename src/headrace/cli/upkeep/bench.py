"""`headrace bench`: how fast this machine accepts events, measured on a temporary store."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
import typer

from headrace.cli.shared.failure import CommandFailed
from headrace.cli.shared.output import AsJson, print_json

START_SECONDS_MAX = 15.0
CONNECTIONS_MAX = 1000
SECONDS_MAX = 600


def bench(
    seconds: Annotated[
        int, typer.Option(min=1, max=SECONDS_MAX, help="Duration of the measurement.")
    ] = 5,
    connections: Annotated[
        int, typer.Option(min=1, max=CONNECTIONS_MAX, help="Concurrent requests.")
    ] = 64,
    folder: Annotated[
        Path,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Folder for the store: choose the disk to measure.",
        ),
    ] = Path(),
    as_json: AsJson = False,
) -> None:
    """Measure how many single events per second a new store on this disk accepts, and how fast.

    Client and server share the machine, so a server with remote clients is faster. The store of
    the run is removed at the end.

    Example: headrace bench --seconds 5 --connections 64 --folder /var/lib/headrace
    """
    import uvloop

    with tempfile.TemporaryDirectory(prefix="headrace-bench-", dir=folder) as place:
        store = f"sqlite:///{Path(place).resolve() / 'bench.db'}"
        found = uvloop.run(_measure(store, seconds, connections))
    if as_json:
        print_json(found)
        return
    typer.echo(f"accepted    {found['accepted_per_second']:,} events/s, each on stable storage")
    typer.echo(f"latency     p50 {found['p50_ms']} ms, p99 {found['p99_ms']} ms")
    typer.echo(f"in all      {found['accepted']:,} events over {connections} connections")


async def _measure(store: str, seconds: int, connections: int) -> dict[str, Any]:
    command = ("-m", "headrace", "api", "--json", "--port", "0", "--log-level", "error")
    environ = {name: text for name, text in os.environ.items() if not name.startswith("HEADRACE_")}
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, *command, "--store", store), stdout=asyncio.subprocess.PIPE, env=environ
    )
    try:
        assert server.stdout is not None
        line = await asyncio.wait_for(server.stdout.readline(), START_SECONDS_MAX)
        if not line:
            raise CommandFailed("The server of the run did not start.")
        started = msgspec.json.decode(line)
        port = urlsplit(started["url"]).port or 0
        latencies: list[float] = []
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(connections):
                group.create_task(_send(port, started["key"], began + seconds, latencies))
        return _summary(latencies, time.perf_counter() - began)
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.terminate()
        await server.wait()


async def _send(port: int, key: str, until: float, latencies: list[float]) -> None:
    """Send events one after the other on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    prefix = secrets.token_hex(6)
    head = (
        "POST /events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {key}\r\n"
    )
    number = 0
    while (sent_at := time.perf_counter()) < until:
        number += 1
        body = (
            f'{{"event":"order.completed","external_id":"user_{number % 5000}",'
            f'"payload":{{"order_id":"{prefix}-{number}","total":129.90,"currency":"EUR"}},'
            f'"idempotency_key":"{prefix}-{number}"}}'
        )
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        response = await reader.readuntil(b"\r\n\r\n")
        if not response.startswith(b"HTTP/1.1 202"):
            raise CommandFailed(
                f"The server responded with {response.splitlines()[0].decode('latin-1')}."
            )
        length = int(response.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        latencies.append(time.perf_counter() - sent_at)
    writer.close()


def _summary(latencies: list[float], seconds: float) -> dict[str, Any]:
    latencies.sort()
    return {
        "accepted": len(latencies),
        "accepted_per_second": round(len(latencies) / seconds),
        "p50_ms": round(latencies[len(latencies) // 2] * 1000, 2),
        "p99_ms": round(latencies[len(latencies) * 99 // 100] * 1000, 2),
    }
