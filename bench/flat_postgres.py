"""What a large PostgreSQL store costs: log and CPU time an event, bytes, retention.

    python -m bench.flat_postgres --events 10000000 --measured 200000 --folder build/flat

Prints JSON for an empty and a large store. The server of PostgreSQL is its own, with
`max_wal_size=1GB`, so that checkpoints come as often as in a small installation.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
import time
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from bench import contenders
from bench.headrace_server import working
from bench.load.fill import anybody, everybody, fill
from bench.load.large_postgres import fill_by_sql
from bench.processes import tree_cpu_s
from bench.stores import StoreKind, shared, store_url, using
from headrace.domain.events.identity import LANES
from headrace.store.engine.postgres.database import Database, PoolOptions
from headrace.store.engine.postgres.packing import UNPACKED, pack_next
from headrace.store.engine.postgres.partitions import partitions
from headrace.store.queues.postgres.keys import RECENT_SHARE, KeyMover
from headrace.store.queues.postgres.retention import PostgresRetention

PEOPLE = 20_000
POLL_S = 0.1
#: Of the keys at which they begin to be moved, how many are there at the end of the load. They are
#: moved afterwards, so that moving is measured separately.
WAITING_SHARE = 0.9
SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "1GB"}

_SIZES = (
    "SELECT coalesce(p.relname, c.relname) || CASE c.relkind WHEN 'i' THEN ' indexes' ELSE '' END, "
    "sum(pg_relation_size(c.oid))::bigint FROM pg_class c "
    "LEFT JOIN pg_index x ON x.indexrelid = c.oid LEFT JOIN pg_inherits i "
    "ON i.inhrelid = coalesce(x.indrelid, c.oid) "
    "LEFT JOIN pg_class p ON p.oid = coalesce(i.inhparent, x.indrelid) "
    "WHERE c.relkind IN ('r', 'i') AND c.relnamespace = 'public'::regnamespace "
    "GROUP BY 1 HAVING sum(pg_relation_size(c.oid)) > 1000000 ORDER BY 2 DESC"
)
_WAITING = "SELECT count(*) FROM recent_keys"
_MAKE_WAITING = (
    "INSERT INTO recent_keys SELECT get_byte(uuid_send(hash), 15), hash, n % $2, n "
    "FROM (SELECT n, md5('waiting' || n)::uuid AS hash FROM generate_series(1, $1::int) AS n) k "
    "ON CONFLICT DO NOTHING"
)


class Cost(msgspec.Struct):
    """Of one event."""

    log_bytes: float
    database_cpu_us: float
    per_second: float


class Figures(msgspec.Struct):
    """Of one store."""

    stored: int
    accept: Cost
    #: Of moving one key to the large table.
    move: Cost
    process: Cost
    #: Of rebuilding the indexes of a complete partition.
    pack_log_bytes: float
    bytes_an_event: dict[str, float]
    removed_per_second: float
    accepted_beside_per_second: float


class _Meter:
    """Log, CPU time of the database, and time, since it was made."""

    def __init__(self, connection: Any, pid: int) -> None:
        self._connection = connection
        self._pid = pid
        self._before = (0, 0.0, 0.0)

    async def start(self) -> None:
        await self._connection.execute("CHECKPOINT")
        self._before = await self._read()

    async def _read(self) -> tuple[int, float, float]:
        log = await self._connection.fetchval("SELECT (pg_current_wal_lsn() - '0/0')::bigint")
        return int(log), tree_cpu_s(self._pid), time.perf_counter()

    async def cost(self, events: int) -> Cost:
        """Since the last call."""
        now = await self._read()
        log, cpu_s, seconds = (new - old for new, old in zip(now, self._before, strict=True))
        self._before = now
        return Cost(log / events, cpu_s / events * 1e6, events / seconds)


async def measure(folder: Path, stored: int, measured: int) -> Figures:
    """Fill the store of a folder with so many events, and accept and process others."""
    databases = shared()
    assert databases is not None
    connection = await asyncpg.connect(store_url(folder))
    try:
        if stored and not await connection.fetchval("SELECT EXISTS (SELECT 1 FROM events)"):
            await fill_by_sql(connection, stored, _say)
        with contenders.headrace_api(folder) as up:
            fill(up.port, up.api_key, everybody(PEOPLE))
        await _drain(folder, connection)
        packed = await _pack(connection)
        waiting = int(stored * RECENT_SHARE * WAITING_SHARE) - measured - PEOPLE
        if waiting > 0:
            await connection.execute(_MAKE_WAITING, waiting, LANES)
            await connection.execute("VACUUM ANALYZE recent_keys")
        meter = _Meter(connection, databases.server.pid)
        await meter.start()
        with contenders.headrace_api(folder) as up:
            fill(up.port, up.api_key, anybody(PEOPLE, measured))
            accept = await meter.cost(measured)
        keys = await connection.fetchval(_WAITING)
        await meter.start()
        await _move_keys(folder)
        move = await meter.cost(keys - await connection.fetchval(_WAITING))
        await _drain(folder, connection)
        process = await meter.cost(measured)
        total = stored + measured + PEOPLE
        sizes = {name: size / total for name, size in await connection.fetch(_SIZES)}
        removed, beside = await _remove(folder, connection)
        return Figures(
            stored=stored,
            accept=accept,
            move=move,
            process=process,
            pack_log_bytes=packed,
            bytes_an_event=sizes,
            removed_per_second=removed,
            accepted_beside_per_second=beside,
        )
    finally:
        await connection.close()


async def _drain(folder: Path, connection: Any) -> None:
    """Let a worker process the queue."""
    waiting = f"SELECT EXISTS (SELECT 1 FROM event_queue) FROM pg_sleep({POLL_S})"
    with working(folder):
        while await connection.fetchval(waiting):
            pass


async def _pack(connection: Any) -> float:
    """Rebuild the indexes of complete partitions; bytes of log an event."""
    events = 0
    for each in (await partitions(connection))[:-UNPACKED]:
        if not each.is_first:
            events += await connection.fetchval(f"SELECT count(*) FROM {each.table('events')}")
    log = "SELECT (pg_current_wal_lsn() - '0/0')::bigint"
    await connection.execute("CHECKPOINT")
    before = await connection.fetchval(log)
    while await pack_next(connection):
        pass
    return float((await connection.fetchval(log) - before) / max(events, 1))


async def _move_keys(folder: Path) -> None:
    database = Database(store_url(folder), PoolOptions())
    await database.connect()
    mover = KeyMover(database)
    while await mover.move_slice():
        pass
    await database.close()


async def _remove(folder: Path, connection: Any) -> tuple[float, float]:
    """Drop what is in complete partitions beside a load; events a second of both."""
    complete = [each for each in (await partitions(connection))[:-3] if not each.is_first]
    if not complete:
        return 0.0, 0.0
    before_us = (complete[-1].end >> 21) * 1000 + 61_000_000
    database = Database(store_url(folder), PoolOptions())
    await database.connect()
    begun, ended = threading.Event(), threading.Event()
    sent = 0

    def load() -> None:
        nonlocal sent
        with contenders.headrace_api(folder) as up:
            while not ended.is_set():
                sent += fill(up.port, up.api_key, anybody(PEOPLE, 5_000))
                begun.set()

    loading = asyncio.get_running_loop().run_in_executor(None, load)
    await asyncio.to_thread(begun.wait)
    retention = PostgresRetention(database)
    began, before, removed = time.perf_counter(), sent, 0
    try:
        while True:
            step = await retention.drop_due({1: before_us})
            removed += step.events
            if step.complete:
                break
    finally:
        ended.set()
    seconds, beside = time.perf_counter() - began, sent - before
    await loading
    await database.close()
    return removed / seconds, beside / seconds


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000, help="of the large store")
    parser.add_argument("--measured", type=int, default=200_000, help="events of each measurement")
    parser.add_argument("--folder", type=Path, default=Path("build/flat"))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    with using(StoreKind.POSTGRESQL, options.folder, **SETTINGS):
        for stored in (0, options.events):
            with contenders.fresh_folder(options.folder, "store") as folder:
                found = asyncio.run(measure(folder, stored, options.measured))
                sys.stdout.write(msgspec.json.format(msgspec.json.encode(found)).decode() + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
