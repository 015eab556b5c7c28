"""Connections to the database become silent inside transactions; new ones work."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path

from tests.faults.shared import EVENTS, OwnPlace, crash, own_place, run
from tests.support.postgres_standby import StandbyServer
from tests.support.tcp_proxy import Silence, TcpProxy
from tests.support.waiting import wait_until
from tests.torture.nodes import Nodes

#: Longest that callers and the worker may be without the database: three times what it takes, and
#: half of what it took while each waited for connections that were long dead.
AWAY_SECONDS_MAX = 20.0
#: Triggers: keys of events are sent when they are committed; BEGIN and COMMIT are mostly the
#: worker's.
POINTS = (
    (b"api0-client", Silence.HALFWAY),
    (b"BEGIN", Silence.AFTER),
    (b"COMMIT", Silence.BEFORE),
)
#: What no log may contain about an unavailable database: stack traces and misleading words.
UNTRUE = ("Traceback", "disk.low", "rollups.dropped", "narrow it down")


def through(place: OwnPlace, proxy: TcpProxy) -> str:
    return place.url.replace(f":{place.server.port}/", f":{proxy.port}/")


async def recovered(nodes: Nodes, place: OwnPlace, what: str) -> None:
    """Wait until events are acknowledged and processed again; returns how long that took."""
    started = time.monotonic()
    await nodes.acknowledged(1, AWAY_SECONDS_MAX)
    acknowledged = time.monotonic() - started
    done = "SELECT count(*) FROM event_states"
    before = place.run_sql(done)[0][0]
    await nodes.acknowledged(EVENTS)
    await asyncio.to_thread(
        wait_until,
        lambda: place.run_sql(done)[0][0] >= before + EVENTS,
        "the worker works again",
        AWAY_SECONDS_MAX,
    )
    processed = time.monotonic() - started
    took = f"acknowledged after {acknowledged:.1f} s, processed after {processed:.1f} s"
    print(f"\n{what}: {took}")  # noqa: T201 - a figure for whoever runs it by hand


def check_logs(nodes: Nodes) -> None:
    """Every log line is known and true, and few of them report the unavailable database."""
    for log in (*(api.log for api in nodes.apis), *(worker.log for worker in nodes.workers)):
        text = log.read_text("utf-8")
        assert not [words for words in UNTRUE if words in text], text
        lines = [json.loads(line) for line in text.splitlines()]
        away = [line for line in lines if line["event"] == "store.unavailable"]
        assert len(away) < 20, text


def test_silence_at_any_point_loses_and_duplicates_nothing(tmp_path: Path) -> None:
    with own_place() as place:
        proxy = TcpProxy(place.server.port)
        proxy.open()

        async def fault(nodes: Nodes) -> None:
            for mark, where in POINTS:
                proxy.silence_at(mark, where)
                await nodes.acknowledged(EVENTS // 4, AWAY_SECONDS_MAX)
                assert not proxy.armed

        check_logs(run(place, tmp_path, fault, url=through(place, proxy)))
        proxy.close()


def test_silent_connections_to_a_healthy_database_lose_and_duplicate_nothing(
    tmp_path: Path,
) -> None:
    with own_place() as place:
        proxy = TcpProxy(place.server.port)
        proxy.open()

        async def fault(nodes: Nodes) -> None:
            count = proxy.silence()
            await recovered(nodes, place, f"{count} silent connections")

        check_logs(run(place, tmp_path, fault, url=through(place, proxy)))
        proxy.close()


def test_silent_primary_before_a_failover_loses_and_duplicates_nothing(
    tmp_path: Path,
) -> None:
    """As when its machine loses the network: the old connections do not notice."""
    with own_place() as place:
        proxy = TcpProxy(place.server.port)
        proxy.open()
        url = through(place, proxy)
        standby = StandbyServer(place.server)
        try:
            standby.start()
            standby.wait_synchronous()

            async def fault(nodes: Nodes) -> None:
                proxy.mute = b""
                proxy.silence()
                await asyncio.to_thread(crash, place.server, signal.SIGKILL)
                await asyncio.to_thread(standby.promote)
                place.url = standby.url(place.database)
                place.server, dead = standby, place.server
                dead.remove()
                proxy.target, proxy.mute = standby.port, None
                await recovered(nodes, place, "failover")

            check_logs(run(place, tmp_path, fault, url=url))
        finally:
            standby.remove()
            proxy.close()
