"""SIGTERM while the database is unavailable: every process ends in time."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.faults.shared import EVENTS, own_place
from tests.support.tcp_proxy import TcpProxy
from tests.torture.nodes import Nodes, Worker, prepare_shared
from tests.torture.server import ServerProcess

#: As documented.
STOP_SECONDS_MAX = 10.0


@pytest.mark.parametrize("how", ["silent", "refused"])
def test_all_processes_end_in_time(tmp_path: Path, how: str) -> None:
    with own_place() as place:
        proxy = TcpProxy(place.server.port)
        proxy.open()
        url = place.url.replace(f":{place.server.port}/", f":{proxy.port}/")

        async def work() -> list[float]:
            nodes = Nodes(tmp_path, url, await prepare_shared(place.url))
            serve = ServerProcess(tmp_path / "serve.db", environment={"HEADRACE_STORE": url})
            try:
                await nodes.add_api()
                await nodes.add_worker()
                await serve.start()
                nodes.send(4)
                await nodes.acknowledged(EVENTS)
                if how == "silent":
                    proxy.mute = b""
                    proxy.silence()
                else:
                    proxy.close()
                for target in nodes.targets:
                    target.up.clear()
                processes: list[ServerProcess | Worker] = [*nodes.apis, *nodes.workers, serve]
                return await asyncio.gather(*map(stopped, processes))
            finally:
                await serve.kill()
                await nodes.abandon()
                nodes.close()

        seconds = asyncio.run(work())
        assert max(seconds) < STOP_SECONDS_MAX
        proxy.close()


async def stopped(node: ServerProcess | Worker) -> float:
    """Seconds from SIGTERM to the end."""
    started = time.monotonic()
    await node.stop()
    return time.monotonic() - started
