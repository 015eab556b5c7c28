"""The source: an embedded store, locked against servers, workers and commands, and unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
from apsw.ext import query_info

from headrace.domain.events.identity import IdentityType, lane_of, lane_of_key
from headrace.store.contract.errors import StoreError, StoreSetupError
from headrace.store.engine.sqlite.connection import open_writer, store_error
from headrace.store.engine.sqlite.lock import InstanceLock
from headrace.store.engine.sqlite.migrate import newest_version, schema_version
from headrace.store.transfer.plan import COPIED, TableCopy

#: How long another process may take to end its transaction.
_BUSY_MS = 5_000


class Source:
    """Opened by the constructor, ended by `close`. One transaction throughout: no row changes.

    Raises:
        StoreSetupError: there is no store, it is in use, or its schema is not that of this release.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            message = f"There is no store {path}."
            raise StoreSetupError(message)
        self.path = path
        self._lock = InstanceLock(path)
        try:
            self._connection = self._open()
        except BaseException:
            self._lock.release()
            raise

    def _open(self) -> apsw.Connection:
        try:
            connection = open_writer(str(self.path))
            version = schema_version(connection)
            if version != newest_version():
                message = (
                    f"The store {self.path} has schema {version}, this release has "
                    f"{newest_version()}. Bring it up to date: headrace migrate"
                )
                raise StoreSetupError(message)
            make_functions(connection)
            connection.set_busy_timeout(_BUSY_MS)
            connection.execute("BEGIN IMMEDIATE")
        except apsw.BusyError:
            message = f"A worker or a command is writing to {self.path}. Stop it first."
            raise StoreSetupError(message) from None
        except (apsw.Error, OSError) as error:
            message = f"The store {self.path} cannot be read: {store_error(error)}"
            raise StoreSetupError(message) from error
        return connection

    def name(self) -> str:
        """Identifies this store: its projects and their ids."""
        rows = self._connection.execute("SELECT hex(uuid) FROM projects ORDER BY uuid LIMIT 3")
        return " ".join(str(row[0]) for row in rows)

    def counts(self) -> dict[str, int]:
        """Rows of each table of the target."""
        return {
            copied.table: int(self._one(f"SELECT count(*) FROM ({copied.sql})"))
            for copied in COPIED
        }

    def _one(self, sql: str) -> Any:
        row: Any = self._connection.execute(sql).fetchone()
        return row[0]

    def columns(self, copied: TableCopy) -> list[str]:
        """Names of the columns that `rows` returns."""
        return [column[0] for column in query_info(self._connection, copied.sql).description]

    def rows(self, copied: TableCopy, skip: int) -> Iterator[tuple[Any, ...]]:
        """All rows in their order, without the first `skip`.

        Raises:
            StoreError: the store cannot be read.
        """
        try:
            yield from self._connection.execute(f"{copied.sql} LIMIT -1 OFFSET {skip:d}")
        except apsw.Error as error:
            message = f"{copied.table} of {self.path}: {store_error(error)}"
            raise StoreError(message) from error

    def close(self) -> None:
        """Release the lock; nothing was changed."""
        self._connection.execute("ROLLBACK")
        self._connection.close()
        self._lock.release()


def make_functions(connection: apsw.Connection) -> None:
    """SQL functions for lanes, used by the plan; the embedded store has only those of events."""

    def identity(*values: Any) -> int:
        project_id, kind, value = values
        return lane_of(project_id, IdentityType(kind), value)

    def contact(*values: Any) -> int:
        project_id, contact_id = values
        return lane_of(project_id, IdentityType.CONTACT_ID, contact_id)

    def key(*values: Any) -> int:
        return lane_of_key(values[0])

    connection.create_scalar_function("lane_of", identity, 3, deterministic=True)
    connection.create_scalar_function("lane_of_contact", contact, 2, deterministic=True)
    connection.create_scalar_function("lane_of_key", key, 1, deterministic=True)
