"""The database is killed, restarted or cut off under load; the service recovers without help."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.faults.shared import EVENTS, crash, own_place, run
from tests.support.raw_http import Client
from tests.support.tcp_proxy import Cut, TcpProxy
from tests.torture.client import event_of
from tests.torture.nodes import Nodes

CUTS = 4


async def refused(nodes: Nodes) -> None:
    """Send a request: it is at once told to retry later."""
    target = nodes.targets[0]

    def ask() -> None:
        client = Client(target.port, target.key)
        answer = client.send(event_of("refused"))
        client.close()
        assert answer.status == 503
        assert answer.json()["error"]["code"] == "StorageUnavailable"
        assert int(answer.headers["retry-after"]) > 0

    await asyncio.to_thread(ask)


@pytest.mark.parametrize(
    "how",
    [signal.SIGKILL, signal.SIGQUIT, signal.SIGINT],
    ids=["killed", "immediate restart", "fast restart"],
)
def test_database_that_ends_loses_and_duplicates_nothing(
    tmp_path: Path, how: signal.Signals
) -> None:
    with own_place() as place:

        async def fault(nodes: Nodes) -> None:
            await asyncio.to_thread(crash, place.server, how)
            # Responses for earlier commits may still be in flight.
            await nodes.all_refused()
            before = nodes.ledger.acknowledged
            await refused(nodes)
            # No event is acknowledged while there is no database.
            assert nodes.ledger.acknowledged == before
            # Not in a thread: the server ends with the thread that started it.
            place.server.start()

        run(place, tmp_path, fault)


def test_connections_cut_inside_commits_lose_and_duplicate_nothing(tmp_path: Path) -> None:
    with own_place() as place:
        proxy = TcpProxy(place.server.port)
        proxy.open()
        url = place.url.replace(f":{place.server.port}/", f":{proxy.port}/")

        async def fault(nodes: Nodes) -> None:
            for number in range(CUTS):
                where = (Cut.BEFORE, Cut.AFTER)[number % 2]
                proxy.cut_at(b"COMMIT", where)
                await nodes.acknowledged(EVENTS // 6)

        run(place, tmp_path, fault, url=url)
        proxy.close()
