"""The shared store: one database, any number of processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from headrace.domain.access.sealing import KeyRing
from headrace.domain.ids import EventIdGenerator
from headrace.process_names import is_alive
from headrace.store.access.members import Members
from headrace.store.access.operators import Operators
from headrace.store.access.projects import Projects
from headrace.store.access.rejections import Rejections
from headrace.store.access.sign_in import SignIn
from headrace.store.access.store_secrets import store_secret
from headrace.store.automations.person_runs import PersonMessagesAndRuns
from headrace.store.automations.store_parts import AutomationParts
from headrace.store.catalog.catalog import Catalog
from headrace.store.contacts.contacts import Contacts
from headrace.store.contacts.groups.audiences import Audiences
from headrace.store.contacts.groups.topics import Topics
from headrace.store.contacts.merging.merges import Merges
from headrace.store.contract.commits import CommitSource, CommitStats
from headrace.store.contract.erasures import Wiped
from headrace.store.contract.errors import StoreError, StoreFailedError, StoreSetupError
from headrace.store.contract.health import StoreHealth
from headrace.store.deliveries.dead_letters import DeadLetters
from headrace.store.deliveries.delivery_counts import DeliveryCounts
from headrace.store.deliveries.delivery_lists import deliveries_of_event
from headrace.store.deliveries.held_work import HeldWork
from headrace.store.deliveries.replays import Replays
from headrace.store.deliveries.subscribers import Subscribers
from headrace.store.engine.postgres.clock import StoreClock
from headrace.store.engine.postgres.database import Connection, Database, PoolOptions
from headrace.store.engine.postgres.durability import check_server, read_settings
from headrace.store.engine.postgres.migrate import (
    Report,
    migrate,
    newer_release,
    newest_version,
    schema_version,
)
from headrace.store.engine.postgres.partitions import lacks_partition, make_ahead
from headrace.store.engine.postgres.sequences import SequenceAllocator, take_writer
from headrace.store.engine.postgres.transaction import PostgresDatabase, PostgresTransaction
from headrace.store.engine.postgres.vacuum import vacuum_problems
from headrace.store.engine.transaction import Transaction
from headrace.store.engine.url import masked
from headrace.store.events.events import Events, last_sequence
from headrace.store.events.trace import Trace
from headrace.store.messages.messages import Messages
from headrace.store.migrations import FIRST, too_old
from headrace.store.privacy.erased_events import PersonEvents
from headrace.store.privacy.erasures import Erasures
from headrace.store.privacy.person_export import PersonExports
from headrace.store.push.push import Push
from headrace.store.queues.postgres.accept import try_insert
from headrace.store.queues.postgres.arrival_notices import listen
from headrace.store.queues.postgres.arrivals import PostgresArrivals
from headrace.store.queues.postgres.committer import COMMITTERS, Committer
from headrace.store.queues.postgres.deliveries import PostgresDeliveries
from headrace.store.queues.postgres.delivery_outcomes import PostgresOutcomes
from headrace.store.queues.postgres.keys import KeyMover
from headrace.store.queues.postgres.lanes import Lanes, database_clock
from headrace.store.queues.postgres.processing import PostgresProcessing
from headrace.store.queues.postgres.retention import PostgresRetention
from headrace.store.queues.postgres.rollups import PostgresRollupWrites
from headrace.store.queues.postgres.system_events import PostgresSystemEvents
from headrace.store.upkeep.alerts import Alerts
from headrace.store.upkeep.leadership import Leadership
from headrace.store.upkeep.retention import StoreRetention
from headrace.store.upkeep.rollups import Rollups
from headrace.store.upkeep.sizes import is_sharded, used_bytes

#: Time between looks for partitions that will be needed soon; shorter than `AHEAD_US`.
PARTITIONS_SECONDS = 10.0


class FilesOfServer:
    """See `headrace.store.privacy.erasures.Files`."""

    async def wipe(self) -> Wiped:
        # The server itself overwrites what removed rows leave in its files, at some later time.
        return Wiped.DONE


#: Left by `headrace.store.transfer` until a copy is complete.
_UNFINISHED_COPY = "SELECT 1 FROM meta WHERE name = 'copy'"
#: The value of `StoreHealth.durability`.
_DURABILITY = (
    *("fsync", "full_page_writes", "synchronous_commit", "synchronous_standby_names"),
    "data_checksums",
)


class PostgresStore:
    """See `headrace.store.store.Store`. Made by `open_store`."""

    kind = "postgresql"
    committers = COMMITTERS

    def __init__(
        self,
        database: Database,
        clock: StoreClock,
        numbers: SequenceAllocator,
        settings: dict[str, str],
        *,
        at_once: bool = True,
        keys: KeyRing | None = None,
    ) -> None:
        self._database = database
        self.database = PostgresDatabase(database)
        self._numbers = numbers
        self._clock = clock
        self._settings = settings
        self._partitions_at_s = 0.0
        self._keys = KeyMover(database)
        self.secret_keys = keys or KeyRing()
        self._committer = Committer(database, at_once=at_once)
        self.events = Events(self.database)
        self.arrivals = PostgresArrivals(database)
        self.projects = Projects(self.database)
        self.rejections = Rejections(self.database)
        self.person_exports = PersonExports(self.database, PersonMessagesAndRuns())
        self.operators = Operators(self.database)
        self.sign_in = SignIn(self.database)
        self.members = Members(self.database)
        self.retention: StoreRetention = PostgresRetention(database)
        self.subscribers = Subscribers(self.database, clock, self.secret_keys)
        lanes = Lanes(database)
        self.processing = PostgresProcessing(
            database, numbers, lanes, Leadership(_database_clock), clock
        )
        self.deliveries = PostgresDeliveries(database, numbers, clock, lanes)
        self.delivery_counts = DeliveryCounts(self.database)
        self.dead_letters = DeadLetters(self.database)
        self.replays = Replays(self.database, numbers)
        self.held_work = HeldWork(self.database, PostgresOutcomes(numbers))
        self.trace = Trace(self.database, deliveries_of_event)
        system_events = PostgresSystemEvents(numbers)
        self.topics = Topics(self.database, system_events)
        self.audiences = Audiences(self.database, system_events)
        self.contacts = Contacts(self.database, system_events, numbers)
        self.merges = Merges(self.database, system_events, numbers)
        self.erasures = Erasures(
            self.database,
            system_events,
            numbers,
            PersonEvents(),
            PersonMessagesAndRuns(),
            FilesOfServer(),
        )
        self.catalog = Catalog(self.database)
        self.alerts = Alerts(self.database)
        self.rollups = Rollups(self.database, PostgresRollupWrites(numbers.writer))
        self.automations = AutomationParts(
            self.database, system_events, numbers, clock, PostgresOutcomes(numbers)
        )
        self.messages = Messages(
            self.database,
            system_events,
            numbers,
            clock,
            self.secret_keys,
            lanes=lanes.held,
            is_alive=is_alive,
        )
        self.push = Push(
            self.database,
            system_events,
            numbers,
            clock,
            self.secret_keys,
            lanes=lanes.held,
            is_alive=is_alive,
        )

    @property
    def commit_stats(self) -> CommitStats:
        return self._committer.stats

    def clock_us(self) -> int:
        return self._clock()

    async def event_ids(self) -> EventIdGenerator:
        return self._numbers.accepted()

    def start_committing(
        self, source: CommitSource, on_failed: Callable[[StoreFailedError], None]
    ) -> None:
        # After a failed fsync the server restarts and recovers, so no failure is final here.
        del on_failed
        self._committer.start(source)

    def wake(self) -> None:
        self._committer.wake()

    async def listen(self, arrived: Callable[[], None]) -> None:
        if self._database.keeps_sessions:
            await listen(self._database, arrived)
        else:
            await asyncio.Event().wait()

    async def health(self) -> StoreHealth:
        schema = await self._database.read(schema_version)
        size = await self.database.read(used_bytes)
        return StoreHealth(
            kind=self.kind,
            location=masked(self._database.url),
            version=self._settings["server_version"],
            schema_version=schema,
            durability={name: self._settings[name] or "none" for name in _DURABILITY},
            size_bytes=size,
            log_bytes=0,
            free_bytes=None,
            vacuum_problems=await self._database.read(vacuum_problems),
        )

    async def secret(self, name: str) -> bytes:
        return await store_secret(self.database, name)

    async def try_commit(self) -> None:
        await self._database.write(try_insert)

    async def maintain(self) -> None:
        await self._clock.measure(self._database)
        await self._make_partitions()
        await self._keys.step()

    async def _make_partitions(self) -> None:
        """Make the partitions that are needed soon; looks every `PARTITIONS_SECONDS`."""
        now_s = time.monotonic()
        if now_s < self._partitions_at_s:
            return
        self._partitions_at_s = now_s + PARTITIONS_SECONDS
        now_us = self._clock()
        if await self._database.read(lambda connection: lacks_partition(connection, now_us)):
            await self._database.alone(lambda connection: make_ahead(connection, now_us))

    async def close(self) -> None:
        await self._committer.stop()
        await self._database.close()


async def open_store(
    url: str,
    options: PoolOptions,
    *,
    create: bool = False,
    migrated: bool = False,
    report: Report | None = None,
    keys: KeyRing | None = None,
) -> PostgresStore:
    """Open a store whose schema is that of this release.

    1. connect; 2. reject a server that does not keep what it commits; 3. reject another schema;
    4. set the clock; 5. take a number for this process.

    Args:
        create: whether to make the schema in a database that has none.
        migrated: whether to migrate an older schema to the newest.
        report: see `migrate`.
        keys: seal secrets; None: they are stored in plain.

    Raises:
        StoreSetupError: with what to do about it.
    """
    database = Database(url, options)
    async with _closed_on_error(database):
        settings = await _connect(database)
        await _check_schema(database, create=create, migrated=migrated, report=report)
        await _check_whole(database)
        clock = StoreClock()
        await clock.measure(database)
        writer = await database.write(take_writer)
        once = PostgresDatabase(database)
        numbers = SequenceAllocator(clock, writer, await once.read(last_sequence))
        # A pooler may send the parts of a statement outside a transaction to different servers.
        at_once = options.statements_kept > 0 and not await once.read(is_sharded)
    return PostgresStore(database, clock, numbers, settings, at_once=at_once, keys=keys)


async def schema_versions(url: str, options: PoolOptions) -> tuple[int, int]:
    """`(of the database, of this release)`; 0 for an empty database. Changes nothing.

    Raises:
        StoreSetupError: the database cannot be read.
    """
    database = Database(url, options)
    async with _closed_on_error(database):
        await _connect(database)
        found = await database.read(schema_version)
    await database.close()
    return found, newest_version()


@asynccontextmanager
async def _closed_on_error(database: Database) -> AsyncIterator[None]:
    try:
        yield
    except StoreSetupError:
        await database.close()
        raise
    except StoreError as error:
        await database.close()
        message = f"The store {masked(database.url)} cannot be opened: {error}"
        raise StoreSetupError(message) from error
    except BaseException:
        await database.close()
        raise


async def _connect(database: Database) -> dict[str, str]:
    """Connect to a suitable server; returns its settings, too."""
    await database.connect()
    settings: dict[str, str] = await database.read(_checked)
    return settings


async def _checked(connection: Connection) -> Any:
    settings = await read_settings(connection)
    await check_server(connection, settings)
    return settings


async def _database_clock(tx: Transaction) -> int:
    assert isinstance(tx, PostgresTransaction)
    return await database_clock(tx.connection)


async def _check_whole(database: Database) -> None:
    """Reject a store that an interrupted `headrace copy` has partly filled."""
    unfinished = await database.read(lambda connection: connection.fetchval(_UNFINISHED_COPY))
    if unfinished is not None:
        raise StoreSetupError(
            f"The store {masked(database.url)} holds a part of another one. Run the same headrace "
            "copy again to finish it, or drop the database and create it again."
        )


async def _check_schema(
    database: Database, *, create: bool, migrated: bool, report: Report | None
) -> None:
    found = await database.read(schema_version)
    if found > newest_version():
        raise newer_release(found)
    if found == newest_version():
        return
    if 0 < found < FIRST:
        raise StoreSetupError(too_old(found))
    if migrated or (found == 0 and create):
        await migrate(database, report)
        return
    state = "no schema yet" if found == 0 else f"schema {found}"
    raise StoreSetupError(
        f"The store {masked(database.url)} has {state}; this release needs {newest_version()}. "
        "Bring it there with: headrace migrate"
    )
