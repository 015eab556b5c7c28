"""A PostgreSQL server of its own for a test that makes it fail, with nodes under load."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from headrace.store.engine.postgres.database import PoolOptions
from tests.support import postgres
from tests.support.places import PostgresPlace
from tests.support.postgres import PostgresServer
from tests.support.waiting import wait_until
from tests.torture.check import compare
from tests.torture.nodes import Nodes, prepare_shared
from tests.torture.processing import check_processing, wait_processed
from tests.torture.rows import PostgresRows

CLIENTS = 4
#: Before a fault and after it.
EVENTS = 200

Fault = Callable[[Nodes], Awaitable[None]]


class OwnPlace(PostgresPlace):
    """A database on a server of its own; a new one by default."""

    def __init__(self, server: PostgresServer, database: str = "") -> None:
        self.server = server
        self.database = database or server.new_database()
        self.url = server.url(self.database)
        self.options = PoolOptions()


@contextmanager
def own_place(**settings: str) -> Iterator[OwnPlace]:
    """A started server with one database, removed at the end."""
    server = PostgresServer(postgres.NEWEST, None, **settings)
    try:
        server.start()
        yield OwnPlace(server)
    finally:
        server.remove()


async def one_of_each(nodes: Nodes) -> None:
    """An API server and a worker."""
    await nodes.add_api()
    await nodes.add_worker()


async def survive(nodes: Nodes, fault: Fault) -> None:
    """Load, fault, load again without intervention, and a clean end."""
    nodes.send(CLIENTS)
    await nodes.acknowledged(EVENTS)
    await fault(nodes)
    await nodes.acknowledged(EVENTS)
    await nodes.finish()


def run(
    place: PostgresPlace,
    folder: Path,
    fault: Fault,
    *,
    url: str = "",
    prepare: Fault = one_of_each,
) -> Nodes:
    """`survive` on the store of a place, and the checks after any fault.

    Args:
        url: by which the nodes reach the store, if different.
        prepare: starts the nodes.
    """

    async def work() -> Nodes:
        nodes = Nodes(folder, url or place.url, await prepare_shared(place.url))
        try:
            await prepare(nodes)
            await survive(nodes, fault)
            rows = PostgresRows(place)
            await asyncio.to_thread(wait_processed, rows)
            assert set(await nodes.stop()) == {0}
        finally:
            nodes.close()
        return nodes

    nodes = asyncio.run(work())
    check(place, nodes)
    return nodes


def check(place: PostgresPlace, nodes: Nodes) -> None:
    """The ledger of the clients equals the store, and every event was finished once."""
    found = compare(nodes.ledger, PostgresRows(place))
    assert found.clean, found
    processed = check_processing(PostgresRows(place))
    assert processed.faults == {}
    assert processed.dead_letters == 0
    assert processed.events == found.stored + processed.contacts


def crash(server: PostgresServer, how: signal.Signals) -> None:
    """End a server, and wait until its last process has ended, so that it can start again."""
    server.stop(how)
    wait_until(lambda: not _works_in(server.data), "the server's processes have gone")


def _works_in(folder: Path) -> bool:
    """Whether any process has the folder as its own; a server's processes all do."""
    for process in Path("/proc").glob("[0-9]*"):
        # It may end during the check, and then it has no folder.
        with suppress(OSError):
            if (process / "cwd").readlink() == folder:
                return True
    return False
