"""The embedded store: one file, one writing process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apsw

from headrace.domain.access.sealing import KeyRing
from headrace.domain.events.identity import LANES
from headrace.domain.ids import EventIdGenerator
from headrace.domain.timestamps import now_us
from headrace.private_files import create_private_folder
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
from headrace.store.contract.errors import StoreError, StoreFailedError, StoreSetupError
from headrace.store.contract.health import StoreHealth
from headrace.store.deliveries.dead_letters import DeadLetters
from headrace.store.deliveries.delivery_counts import DeliveryCounts
from headrace.store.deliveries.delivery_lists import deliveries_of_event
from headrace.store.deliveries.held_work import HeldWork
from headrace.store.deliveries.replays import Replays
from headrace.store.deliveries.subscribers import Subscribers
from headrace.store.engine.numbers import NumbersByDatabase
from headrace.store.engine.sqlite.connection import check_version, open_writer, store_error
from headrace.store.engine.sqlite.disk import DiskReserve, free_bytes
from headrace.store.engine.sqlite.file_check import check_file, damaged
from headrace.store.engine.sqlite.file_wiping import SqliteFiles
from headrace.store.engine.sqlite.files import exposed_files, remove_unfinished_copy
from headrace.store.engine.sqlite.lock import InstanceLock
from headrace.store.engine.sqlite.log_end import LogEnd, check_log
from headrace.store.engine.sqlite.migrate import migrate, schema_version
from headrace.store.engine.sqlite.readers import Readers
from headrace.store.engine.sqlite.transaction import (
    OverwritingDatabase,
    SqliteDatabase,
)
from headrace.store.engine.sqlite.writer import Writer, checkpoint_fully, database_paths
from headrace.store.events.events import Events
from headrace.store.events.trace import Trace
from headrace.store.messages.messages import Messages
from headrace.store.privacy.erased_events import PersonEvents
from headrace.store.privacy.erasures import Erasures
from headrace.store.privacy.person_export import PersonExports
from headrace.store.push.push import Push
from headrace.store.queues.sqlite.accept import event_inserts
from headrace.store.queues.sqlite.backfill import backfill
from headrace.store.queues.sqlite.deliveries import SqliteDeliveries
from headrace.store.queues.sqlite.delivery_outcomes import SqliteOutcomes
from headrace.store.queues.sqlite.keys import FIND, open_keys
from headrace.store.queues.sqlite.processing import SqliteProcessing
from headrace.store.queues.sqlite.rollups import SqliteRollupWrites
from headrace.store.queues.sqlite.system_events import SqliteSystemEvents
from headrace.store.upkeep.alerts import Alerts
from headrace.store.upkeep.retention import StoreRetention
from headrace.store.upkeep.rollups import Rollups
from headrace.store.upkeep.sizes import reusable_bytes

#: Up to this size a store is checked before it serves; that is about a third of a second.
CHECKED_BYTES_MAX = 256 * 1024 * 1024

_SYNCHRONOUS = {0: "off", 1: "normal", 2: "full", 3: "extra"}


class SqliteStore:
    """See `headrace.store.store.Store`. Made by `open_store`."""

    kind = "sqlite"
    #: One connection writes.
    committers = 1
    #: One process accepts, so it knows every arrival.
    arrivals = None

    def __init__(
        self,
        path: Path,
        connection: apsw.Connection,
        lock: InstanceLock | None,
        keys: KeyRing | None = None,
    ) -> None:
        self._path = path
        self._connection = connection
        self._lock = lock
        self._log_end = None if lock is None else LogEnd(path, connection, lock)
        self._reserve = DiskReserve(path)
        if lock is not None:
            self._reserve.take()
        # Read before the writer takes over the connection.
        self._durability = _durability(connection)
        self._schema_version = schema_version(connection)
        self._writer = Writer(connection, on_full=self._make_room)
        if self._log_end is not None:
            self._writer.on_commit = self._log_end.note
        self._readers = Readers(str(path))
        self._failure = ""
        self.secret_keys = keys or KeyRing()
        self.database = SqliteDatabase(self._writer, self._readers)
        self.events = Events(
            self.database,
            # The newest keys are in the memory of the accepting connection.
            find_key=None if lock is None else self._find_key,
        )
        self.processing = SqliteProcessing(self._writer, self._readers, now_us, is_alive)
        system_events, numbers = SqliteSystemEvents(), NumbersByDatabase()
        self.contacts = Contacts(self.database, system_events, numbers)
        self.topics = Topics(self.database, system_events)
        self.audiences = Audiences(self.database, system_events)
        self.merges = Merges(self.database, system_events, numbers)
        self.erasures = Erasures(
            OverwritingDatabase(self._writer, self._readers),
            system_events,
            numbers,
            PersonEvents(),
            PersonMessagesAndRuns(),
            SqliteFiles(self._writer, path),
        )
        self.person_exports = PersonExports(self.database, PersonMessagesAndRuns())
        self.messages = Messages(
            self.database,
            system_events,
            numbers,
            now_us,
            self.secret_keys,
            lanes=lambda: range(LANES),
            is_alive=is_alive,
        )
        self.automations = AutomationParts(
            self.database, system_events, numbers, now_us, SqliteOutcomes()
        )
        self.push = Push(
            self.database,
            system_events,
            numbers,
            now_us,
            self.secret_keys,
            lanes=lambda: range(LANES),
            is_alive=is_alive,
        )
        self.operators = Operators(self.database)
        self.sign_in = SignIn(self.database)
        self.members = Members(self.database)
        self.subscribers = Subscribers(self.database, now_us, self.secret_keys)
        self.deliveries = SqliteDeliveries(self._writer, self._readers, now_us, is_alive)
        self.delivery_counts = DeliveryCounts(self.database)
        self.dead_letters = DeadLetters(self.database)
        self.replays = Replays(self.database, numbers)
        self.held_work = HeldWork(self.database, SqliteOutcomes())
        self.trace = Trace(self.database, deliveries_of_event)
        self.projects = Projects(self.database)
        self.rejections = Rejections(self.database)
        self.retention = StoreRetention(self.database)
        self.catalog = Catalog(self.database)
        self.alerts = Alerts(self.database)
        self.rollups = Rollups(self.database, SqliteRollupWrites())

    @property
    def commit_stats(self) -> CommitStats:
        return self._writer.stats

    def clock_us(self) -> int:
        return now_us()

    async def event_ids(self) -> EventIdGenerator:
        return EventIdGenerator(now_us, after=await self.events.last_sequence())

    def start_committing(
        self, source: CommitSource, on_failed: Callable[[StoreFailedError], None]
    ) -> None:
        def failed(error: StoreFailedError) -> None:
            self._failure = str(error)
            on_failed(error)

        self._writer.start_committing(source, event_inserts(), failed)

    def wake(self) -> None:
        self._writer.wake()

    async def _find_key(self, hashed: bytes) -> Sequence[Any] | None:
        return await self._writer.look(lambda connection: connection.execute(FIND, (hashed,)).get)

    async def listen(self, arrived: Callable[[], None]) -> None:
        # The one server that accepts runs the worker and signals to it.
        del arrived
        await asyncio.Event().wait()

    async def health(self) -> StoreHealth:
        database, log = database_paths(self._path)
        return StoreHealth(
            kind=self.kind,
            location=str(self._path),
            version=apsw.sqlite_lib_version(),
            schema_version=self._schema_version,
            durability=self._durability,
            size_bytes=database.stat().st_size,
            log_bytes=log.stat().st_size if log.exists() else 0,
            free_bytes=free_bytes(self._path),
            reusable_bytes=await self.database.read(reusable_bytes),
            problem=self._failure,
            exposed_files=exposed_files(self._path),
        )

    async def secret(self, name: str) -> bytes:
        return await store_secret(self.database, name)

    async def try_commit(self) -> None:
        def work(connection: apsw.Connection) -> None:
            # Writing and removing a row makes the commit write and sync the log.
            connection.execute(
                "INSERT INTO meta (name, value) VALUES ('trial', hex(zeroblob(1000)))"
            )
            connection.execute("DELETE FROM meta WHERE name = 'trial'")

        await self._writer.run(work)

    async def maintain(self) -> None:
        if self._lock is not None:
            self._reserve.take()

    def _make_room(self) -> None:
        # Both processes may meet the full disk: the worker's deletions need space as the server's
        # writes do.
        self._reserve.give_back()

    async def close(self) -> None:
        self._writer.stop()
        self._readers.close()
        try:
            if self._failure:
                # The library would empty the log on closing; after a failed fsync nothing is
                # written any more.
                self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            elif self._lock is not None:
                checkpoint_fully(self._connection)
        except (apsw.Error, StoreError):
            # The log stays and is emptied at the next start; nothing is lost.
            pass
        self._connection.close()
        if self._log_end is not None:
            self._log_end.close()
        if self._lock is not None:
            self._lock.release()


def open_store(
    path: Path,
    *,
    serve: bool,
    create: bool = True,
    accept_data_loss: bool = False,
    keys: KeyRing | None = None,
    report: Callable[[int, int], None] = lambda _done, _of: None,
) -> SqliteStore:
    """Open a store, migrate it to the newest schema and make sure that what is visible is durable.

    1. reject a library that can lose rows; 2. take the instance lock; 3. check that the log of a
    killed server is whole; 4. open; 5. empty the log into the database and sync; 6. check the file;
    7. migrate. A rejected store is closed again.

    Args:
        serve: whether this process will accept events: only one may. A command that changes a key
            or a policy opens the store beside a running server.
        create: whether to make the file when it does not exist.
        accept_data_loss: whether to go on where the log of a killed server is not whole.
        keys: seal secrets; None: they are stored in plain.
        report: called while the rows of an older store are moved, with how many have been and how
            many there are.

    Raises:
        StoreSetupError: with what to do about it.
    """
    check_version()
    if not create and not path.exists():
        message = f"There is no store at {path}. Start one with: headrace serve"
        raise StoreSetupError(message)
    with contextlib.ExitStack() as undo:
        try:
            create_private_folder(path.parent)
            lock = InstanceLock(path) if serve else None
            if lock is not None:
                undo.callback(lock.give_back)
                if not accept_data_loss:
                    check_log(path, lock)
                lock.take_over()
                remove_unfinished_copy(path)
            connection = open_writer(str(path))
            undo.callback(connection.close)
            if serve:
                checkpoint_fully(connection)
                _check_small_file(connection, path)
            migrate(connection)
            if backfill(connection, report) and serve:
                checkpoint_fully(connection)
            if serve:
                open_keys(connection)
        except StoreSetupError:
            raise
        except (apsw.CorruptError, apsw.NotADBError) as error:
            raise damaged(path, str(error)) from error
        except (apsw.Error, OSError, StoreError) as error:
            message = f"The store {path} cannot be opened: {store_error(error)}"
            raise StoreSetupError(message) from error
        undo.pop_all()
    return SqliteStore(path, connection, lock, keys)


def _check_small_file(connection: apsw.Connection, path: Path) -> None:
    if path.stat().st_size > CHECKED_BYTES_MAX:
        return
    check_file(connection, path)


def _durability(connection: apsw.Connection) -> dict[str, str]:
    level: Any = connection.pragma("synchronous")
    return {
        "journal_mode": str(connection.pragma("journal_mode")),
        "synchronous": _SYNCHRONOUS[int(level)],
    }
