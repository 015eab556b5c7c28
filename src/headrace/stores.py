"""Opens the store of a URL: the only module that knows the concrete stores."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import structlog

from headrace.config import Settings
from headrace.delivery.mail.dkim import new_dkim_key
from headrace.delivery.push.keys import new_vapid_keys
from headrace.delivery.webhook.signing import new_secret
from headrace.domain.access.sealing import KeyRing, SealingKey, parse_keys
from headrace.domain.timestamps import now_us
from headrace.observability.events import STORE_MIGRATING
from headrace.store.access.key_file import KeyFile
from headrace.store.access.sealing import Replaced, replace_lost, seal_all, sealed_secrets
from headrace.store.contract.errors import StoreSetupError
from headrace.store.deliveries.held_work import BACKUP, HELD, PUT, Hold, encoded
from headrace.store.engine.postgres.database import Database, PoolOptions
from headrace.store.engine.postgres.errors import is_error
from headrace.store.engine.postgres.errors import store_error as postgres_error
from headrace.store.engine.postgres.shard import distribute
from headrace.store.engine.sqlite.backup import Report as BackupReport
from headrace.store.engine.sqlite.backup import restore_backup, write_backup
from headrace.store.engine.sqlite.compact import Report as CompactReport
from headrace.store.engine.sqlite.compact import Space, open_compaction
from headrace.store.engine.sqlite.connection import open_reader, store_error
from headrace.store.engine.sqlite.files import SECRET_KEYS, file_beside
from headrace.store.engine.sqlite.migrate import newest_version, schema_version
from headrace.store.engine.url import StoreUrl, masked
from headrace.store.postgres import open_store as open_postgres
from headrace.store.postgres import schema_versions as postgres_versions
from headrace.store.privacy.erasures import DONE, NO_COPIES
from headrace.store.sqlite import open_store as open_sqlite
from headrace.store.store import Store
from headrace.store.transfer.job import CopyJob, Progress, Report
from headrace.store.transfer.source import Source
from headrace.store.transfer.target import Target

#: Timeout of one statement of a copy, which writes or reads a few thousand rows.
COPY_STATEMENT_SECONDS_MAX = 120.0
#: Between two log lines about a migration that takes longer.
MIGRATION_LOG_SECONDS = 5.0


def store_url(url: str) -> StoreUrl:
    """Parse the URL of a store.

    Raises:
        StoreSetupError: it is not the URL of a store.
    """
    return StoreUrl.parse(url)


async def open_store(
    url: str,
    *,
    serve: bool,
    create: bool = True,
    accept_data_loss: bool = False,
    options: PoolOptions | None = None,
    secret_key: str = "",
) -> Store:
    """Open the store a URL names, and seal secrets that are not sealed with the current key.

    Args:
        serve: whether this process will accept events.
        create: whether to make a store where there is none.
        accept_data_loss: whether to open an embedded store whose log is not whole.
        options: how to connect to a PostgreSQL store.
        secret_key: the setting of that name.

    Raises:
        StoreSetupError: with what to do about it.
    """
    place = SecretKeys.of(store_url(url), secret_key)
    path, ring = place.path, place.ring()
    is_new = path is not None and not path.exists()
    store: Store
    if path is None:
        store = await open_postgres(url, options or PoolOptions(), create=create, keys=ring)
    else:
        store = open_sqlite(
            path,
            serve=serve,
            create=create,
            accept_data_loss=accept_data_loss,
            keys=ring,
            report=_MigrationLog(),
        )
    try:
        await place.prepare(store, create=serve or is_new)
    except BaseException:
        await store.close()
        raise
    return store


class _MigrationLog:
    """Logs how far a migration is, now and then."""

    def __init__(self) -> None:
        self._logged_at = time.monotonic()

    def __call__(self, moved: int, total: int) -> None:
        now = time.monotonic()
        if now - self._logged_at >= MIGRATION_LOG_SECONDS:
            self._logged_at = now
            structlog.get_logger().info(STORE_MIGRATING, moved=moved, total=total)


def _log_step(step: str, done: int, total: int) -> None:
    """Log the step of a migration that begins."""
    structlog.get_logger().info(STORE_MIGRATING, step=step, moved=done, total=total)


async def open_configured(
    settings: Settings, *, serve: bool, create: bool = True, accept_data_loss: bool = False
) -> Store:
    """As `open_store`, connected as the settings say."""
    return await open_store(
        settings.store,
        serve=serve,
        create=create,
        accept_data_loss=accept_data_loss,
        options=pool_options(settings),
        secret_key=settings.secret_key,
    )


class SecretKeys:
    """Where the keys come from that seal the secrets of one store.

    They are those of the setting, then those of the file beside an embedded store, which is made
    when there are none.
    """

    def __init__(self, path: Path | None, given: tuple[SealingKey, ...]) -> None:
        self.path = path
        self.given = given
        self.file = None if path is None else KeyFile(file_beside(path, SECRET_KEYS))

    @classmethod
    def of(cls, url: StoreUrl, setting: str) -> SecretKeys:
        """The keys for the store of a URL.

        Raises:
            StoreSetupError: the setting holds something else.
        """
        try:
            return cls(url.path, parse_keys(setting))
        except ValueError as error:
            message = f"HEADRACE_SECRET_KEY {error}"
            raise StoreSetupError(message) from None

    def read(self) -> tuple[SealingKey, ...]:
        """All keys there are; the first one seals.

        Raises:
            StoreSetupError: the file cannot be read.
        """
        kept = () if self.file is None else self.file.read()
        known = {key.id for key in self.given}
        return (*self.given, *(key for key in kept if key.id not in known))

    def ring(self) -> KeyRing:
        """The keys for a process, which reads them again when it meets another one."""
        return KeyRing(self.read(), self.read)

    async def prepare(self, store: Store, *, create: bool) -> None:
        """Check that every secret can be opened, and seal what is not sealed with the first key.

        Args:
            create: whether to make the key file of an embedded store that has none.

        Raises:
            StoreSetupError: a key is missing.
        """
        ring = store.secret_keys
        found = await sealed_secrets(store.database)
        missing = sorted(set(found.by_key) - set(ring.ids))
        if missing:
            raise StoreSetupError(self._missing(missing))
        if not ring.ids and create and self.file is not None:
            ring.replace(self.file.add())
        if ring.ids and found.plain:
            await seal_all(store.database, ring, store.clock_us(), actor="start")

    def _missing(self, ids: list[str]) -> str:
        keys = "key" if len(ids) == 1 else "keys"
        text = f"Secrets in the store are sealed with {keys} {', '.join(ids)}, not present here. "
        if self.file is None:
            return f"{text}Set HEADRACE_SECRET_KEY, or add the key to it after a comma."
        where = "Bring back" if not self.file.path.exists() else "Add it to"
        return f"{text}{where} {self.file.path}, or set HEADRACE_SECRET_KEY."


def key_file(url: str) -> Path | None:
    """The file with the keys of an embedded store, None when there is none."""
    path = store_url(url).path
    found = None if path is None else file_beside(path, SECRET_KEYS)
    return found if found is not None and found.exists() else None


async def replace_lost_secrets(settings: Settings) -> Replaced:
    """Replace the secrets whose key is lost; returns how many of each.

    Raises:
        StoreSetupError: with what to do about it.
    """
    url = store_url(settings.store)
    place = SecretKeys.of(url, settings.secret_key)
    if place.file is not None and not place.read():
        place.file.add()
    ring = place.ring()
    store: Store
    if url.path is None:
        store = await open_postgres(settings.store, pool_options(settings), keys=ring)
    else:
        store = open_sqlite(url.path, serve=False, create=False, keys=ring)
    try:
        return await replace_lost(
            store.database,
            ring,
            store.clock_us(),
            new_secret=new_secret,
            new_dkim_key=_new_private_key,
            new_vapid_keys=_new_vapid_keys,
            actor="cli",
        )
    finally:
        await store.close()


def _new_private_key() -> str:
    # The domain is not part of the key.
    return new_dkim_key("example.org", "headrace").private_pem.decode()


def _new_vapid_keys() -> tuple[str, str]:
    keys = new_vapid_keys()
    return keys.public, keys.private_pem


async def rotate_secret_key(settings: Settings) -> tuple[str, int]:
    """Seal all secrets with a new key, or with the first one of the setting.

    Returns:
        The id of the key, and how many secrets were sealed again.

    Raises:
        StoreSetupError: with what to do about it.
    """
    place = SecretKeys.of(store_url(settings.store), settings.secret_key)
    store = await open_configured(settings, serve=False, create=False)
    try:
        ring = store.secret_keys
        if not place.given and place.file is not None:
            if ring.ids:
                # The file drops the oldest key when it is full; nothing may need it.
                await seal_all(store.database, ring, store.clock_us(), actor="cli")
            # In the file before anything is sealed with it.
            place.file.add()
            ring.replace(place.read())
        if not ring.ids:
            message = "There is no secret key. Set HEADRACE_SECRET_KEY on every process."
            raise StoreSetupError(message)
        sealed = await seal_all(store.database, ring, store.clock_us(), actor="cli")
        return ring.ids[0], sealed
    finally:
        await store.close()


def pool_options(settings: Settings) -> PoolOptions:
    """How the settings say to connect."""
    return PoolOptions(
        connections_max=settings.postgres_connections_max,
        statements_kept=settings.postgres_statements_kept,
    )


async def migrate_store(settings: Settings) -> tuple[int, int]:
    """Create a store or migrate it to the newest schema; returns versions `(before, after)`.

    Raises:
        StoreSetupError: with what to do about it.
    """
    before, _ = await schema_versions(settings)
    if store_url(settings.store).is_shared:
        options = pool_options(settings)
        place = SecretKeys.of(store_url(settings.store), settings.secret_key)
        store: Store = await open_postgres(
            settings.store,
            options,
            create=True,
            migrated=True,
            report=_log_step,
            keys=place.ring(),
        )
        await place.prepare(store, create=False)
    else:
        store = await open_configured(settings, serve=False)
    await store.close()
    return before, (await schema_versions(settings))[0]


async def distribute_store(settings: Settings, shards: int) -> list[str]:
    """Shard a store over the nodes of a cluster; returns the tables newly distributed.

    Raises:
        StoreSetupError: with what to do about it.
    """
    if not store_url(settings.store).is_shared:
        message = "Only a PostgreSQL store can be spread, over the nodes of a Citus cluster."
        raise StoreSetupError(message)
    # No timeout: moving a table may take hours. The operator can end it at any time.
    async with _apart(settings.store, None) as connection:
        return await distribute(connection, shards)


@contextlib.contextmanager
def compact_store(settings: Settings) -> Iterator[tuple[Space, Callable[[CompactReport], int]]]:
    """How much space a compaction of an embedded store needs, and a function that runs it.

    The function returns the bytes of the new file. No other process can use the store meanwhile.

    Raises:
        StoreSetupError: with what to do about it.
        StoreError: of the function; the store is unchanged.
    """
    path = store_url(settings.store).path
    if path is None:
        message = (
            "Only an embedded store is compacted. PostgreSQL gives space back with "
            "VACUUM (FULL), which locks a table, or with pg_repack, which does not."
        )
        raise StoreSetupError(message)

    def finish_erasures(connection: apsw.Connection) -> None:
        connection.execute(DONE.sqlite, (now_us(),))
        connection.execute(NO_COPIES.sqlite)

    with open_compaction(path) as compaction:
        yield compaction.space, lambda report: compaction.run(report, finish_erasures)


def backup_store(settings: Settings, target: Path, report: BackupReport) -> tuple[int, int]:
    """Write a backup of an embedded store that may be in use; returns its bytes and its time.

    Raises:
        StoreSetupError: with what to do about it.
        StoreError: nothing was written.
    """
    path = store_url(settings.store).path
    if path is None:
        message = (
            "Only an embedded store is backed up so. PostgreSQL has pg_basebackup and pg_dump."
        )
        raise StoreSetupError(message)
    # Before the snapshot: all that is committed until now is in it.
    taken_us = now_us()
    size_bytes = write_backup(
        path, target, report, lambda backup: backup.execute(PUT.sqlite, (BACKUP, str(taken_us)))
    )
    return size_bytes, taken_us


def restore_store(settings: Settings, backup: Path, report: BackupReport) -> tuple[int, Hold]:
    """Make a new embedded store from a backup, with its work held; returns its bytes and the hold.

    Raises:
        StoreSetupError: with what to do about it.
        StoreError: nothing was written.
    """
    path = store_url(settings.store).path
    if path is None:
        message = (
            "Only an embedded store is restored so. For PostgreSQL use pg_restore or the base "
            "backup, and then: headrace hold"
        )
        raise StoreSetupError(message)
    hold = Hold(held_us=now_us())

    def change(store: apsw.Connection) -> None:
        nonlocal hold
        taken = store.execute("SELECT value FROM meta WHERE name = ?", (BACKUP,)).get
        hold = Hold(held_us=hold.held_us, backup_us=None if taken is None else int(taken))
        store.execute(PUT.sqlite, (HELD, encoded(hold)))

    return restore_backup(backup, path, report, change), hold


async def copy_store(source: str, target: str, progress: Progress) -> Report:
    """Copy a whole embedded store into an empty PostgreSQL one, or resume a copy.

    Raises:
        StoreSetupError: with what to do about it.
        StoreError: the copy did not finish; run it again to resume.
    """
    source_path, target_url = store_url(source).path, store_url(target)
    if not target_url.is_shared:
        message = f"{target_url.shown!r} is no PostgreSQL store, and only into one can be copied."
        raise StoreSetupError(message)
    if source_path is None:
        message = f"{masked(source)!r} is no embedded store, and only from one can be copied."
        raise StoreSetupError(message)
    opened = Source(source_path)
    try:
        async with _apart(target, COPY_STATEMENT_SECONDS_MAX) as connection:
            return await CopyJob(opened, Target(connection), progress).run()
    finally:
        opened.close()


@contextlib.asynccontextmanager
async def _apart(url: str, statement_seconds_max: float | None) -> AsyncIterator[Any]:
    """A dedicated connection for long work; its errors are raised as `StoreError`."""
    try:
        connection = await Database(url, PoolOptions()).dedicated_connection(statement_seconds_max)
    except Exception as error:
        if not is_error(error):
            raise
        message = f"The store {masked(url)} cannot be opened: {postgres_error(error)}"
        raise StoreSetupError(message) from error
    try:
        await connection.execute("SET statement_timeout = 0")
        await connection.execute("SET idle_in_transaction_session_timeout = '60s'")
        yield connection
    except Exception as error:
        if not is_error(error):
            raise
        raise postgres_error(error) from error
    finally:
        await connection.close()


async def schema_versions(settings: Settings) -> tuple[int, int]:
    """`(of the store, of this release)`; 0 for a store that does not exist. Changes nothing.

    Raises:
        StoreSetupError: the store cannot be read.
    """
    path = store_url(settings.store).path
    if path is None:
        return await postgres_versions(settings.store, pool_options(settings))
    if not path.exists():
        return 0, newest_version()
    try:
        with contextlib.closing(open_reader(str(path))) as connection:
            return schema_version(connection), newest_version()
    except apsw.Error as error:
        message = f"The store {path} cannot be read: {store_error(error)}"
        raise StoreSetupError(message) from error
