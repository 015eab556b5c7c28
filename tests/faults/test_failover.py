"""The primary crashes, its synchronous standby takes over: nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from tests.faults.shared import crash, own_place, run
from tests.support.postgres_standby import StandbyServer
from tests.torture.nodes import Nodes


def test_failover_to_a_synchronous_standby_loses_and_duplicates_nothing(tmp_path: Path) -> None:
    """Nodes know both servers and use the one that accepts writes."""
    with own_place() as place:
        standby = StandbyServer(place.server)
        try:
            standby.start()
            standby.wait_synchronous()
            both = (
                f"postgresql://postgres@127.0.0.1:{place.server.port},127.0.0.1:{standby.port}/"
                f"{place.database}?target_session_attrs=read-write"
            )

            async def fault(_: Nodes) -> None:
                await asyncio.to_thread(crash, place.server, signal.SIGKILL)
                await asyncio.to_thread(standby.promote)
                place.url = standby.url(place.database)
                place.server, dead = standby, place.server
                dead.remove()

            run(place, tmp_path, fault, url=both)
        finally:
            standby.remove()
