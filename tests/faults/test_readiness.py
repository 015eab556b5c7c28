"""`/readyz` reflects whether events can be stored, and recovers without one."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path

import asyncpg

from tests.faults.server import SECONDS_MAX, Faulty, ask_until, send
from tests.faults.shared import own_place, run
from tests.support.raw_http import Client
from tests.torture.nodes import Nodes

MIB = 1024 * 1024
FILE_BYTES_MAX = 4 * MIB
LARGE = {"payload": {"filling": "x" * 60_000}}


def test_a_log_that_may_not_grow_makes_the_server_not_ready(faulty: Faulty) -> None:
    """Like a quota, which does not show in the free disk space that the guard checks."""
    client = faulty.start(wrapper=["prlimit", f"--fsize={FILE_BYTES_MAX}:unlimited"])
    assert client.get("/readyz").status == 200
    acknowledged: list[str] = []

    def refused() -> bool:
        key = f"k{len(acknowledged)}"
        answer = send(client, key, LARGE)
        assert answer is not None
        if answer.status == 202:
            acknowledged.append(key)
        return answer.status == 503

    ask_until(refused)
    assert client.get("/readyz").status == 503
    assert client.get("/readyz").data["reason"].startswith("Events cannot be stored: ")
    assert b"headrace_ingest_blocked 1.0" in client.get("/metrics").body

    assert faulty.server is not None
    infinity = resource.RLIM_INFINITY
    resource.prlimit(faulty.server.process.pid, resource.RLIMIT_FSIZE, (infinity, infinity))
    ask_until(lambda: client.get("/readyz").status == 200)
    assert b"headrace_ingest_blocked 0.0" in client.get("/metrics").body
    healed = send(client, "healed", LARGE)
    assert healed is not None
    assert healed.status == 202
    assert faulty.stop() == 0
    assert faulty.stored_keys() == [*acknowledged, "healed"]


def test_a_locked_table_makes_the_server_not_ready(tmp_path: Path) -> None:
    """Before the first event fails, so that a balancer sends the others elsewhere."""
    with own_place() as place:

        async def fault(nodes: Nodes) -> None:
            def ready(status: int) -> None:
                client = Client(nodes.targets[0].port, nodes.targets[0].key)
                ask_until(lambda: client.get("/readyz").status == status, SECONDS_MAX)
                client.close()

            holder = await asyncpg.connect(place.url)
            async with holder.transaction():
                await holder.execute("LOCK TABLE events IN EXCLUSIVE MODE")
                await asyncio.to_thread(ready, 503)
            await asyncio.to_thread(ready, 200)
            await holder.close()

        run(place, tmp_path, fault)
