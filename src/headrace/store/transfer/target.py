"""The target: a PostgreSQL store, and the progress of the copy in it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import msgspec

from headrace.store.contract.errors import StoreSetupError
from headrace.store.engine.postgres.database import (
    PartitionMadeError,
    transaction,
    with_partitions,
)
from headrace.store.engine.postgres.migrate import newest_version, schema_version
from headrace.store.transfer.checksum import Checksum
from headrace.store.transfer.plan import COPIED, TableCopy

#: Row of `meta` with the progress of a copy; removed when it is complete.
STATE = "copy"
_READ_ROWS = 2_000
#: Limit for one batch of rows.
WRITE_SECONDS_MAX = 120.0

_TYPES = (
    "SELECT a.attname, format_type(a.atttypid, NULL) FROM pg_attribute a "
    "WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped "
    "ORDER BY a.attnum"
)
_SAVE = (
    "INSERT INTO meta (name, value) VALUES ($1, $2) "
    "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
_IDENTITIES = (
    "SELECT table_name, column_name FROM information_schema.columns "
    "WHERE table_schema = current_schema() AND is_identity = 'YES'"
)
#: Converts values of a source column for the target.
_CONVERTED: Mapping[str, Callable[[Any], Any]] = {
    "boolean": bool,
    "bigint[]": msgspec.json.decode,
}


class CopyState(msgspec.Struct):
    """The progress of a copy; saved in the transaction that wrote the rows."""

    #: See `Source.name`.
    source: str
    #: Table -> rows written; tables not named have none yet.
    rows: dict[str, int] = {}


class Target:
    """The target of a copy, over a connection of its own without time limits."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._columns: dict[str, dict[str, str]] = {}

    async def begin(self, source: str) -> CopyState:
        """The state of an interrupted copy from `source`, a new one in an empty store.

        Raises:
            StoreSetupError: the store has other data, or another schema.
        """
        version = await schema_version(self._connection)
        if version != newest_version():
            message = (
                f"The target has schema {version}, this release has {newest_version()}. "
                "Bring it up to date: headrace migrate --store postgresql://..."
            )
            raise StoreSetupError(message)
        for copied in COPIED:
            found = await self._connection.fetch(_TYPES, copied.table)
            self._columns[copied.table] = dict(map(tuple, found))
        state = await self.state()
        if state is None:
            await self._check_empty()
            state = CopyState(source)
            await self._connection.execute(_SAVE, STATE, _text(state))
        elif state.source != source:
            message = (
                "The target holds a part of another store, whose copy was not finished. "
                "Continue with that one, or drop the target and create it again."
            )
            raise StoreSetupError(message)
        return state

    async def state(self) -> CopyState | None:
        """The saved progress of an unfinished copy."""
        text = await self._connection.fetchval("SELECT value FROM meta WHERE name = $1", STATE)
        return None if text is None else msgspec.json.decode(text, type=CopyState)

    async def _check_empty(self) -> None:
        for copied in COPIED:
            sql = f"SELECT 1 FROM {copied.table} LIMIT 1"
            if await self._connection.fetchval(sql) is not None:
                message = (
                    f"The target has data already (in {copied.table}). A store is copied into an "
                    "empty one that no server was started on."
                )
                raise StoreSetupError(message)

    def converter(
        self, copied: TableCopy, columns: Sequence[str]
    ) -> Callable[..., tuple[Any, ...]]:
        """A function that converts rows of the source to rows of the target, with those columns."""
        types = self._columns[copied.table]
        changed = [
            (index, _CONVERTED[types[column]])
            for index, column in enumerate(columns)
            if types[column] in _CONVERTED
        ]

        def convert(row: Sequence[Any]) -> tuple[Any, ...]:
            values = list(row)
            for index, conversion in changed:
                if values[index] is not None:
                    values[index] = conversion(values[index])
            return tuple(values)

        return convert

    async def write(
        self, copied: TableCopy, columns: Sequence[str], rows: Sequence[Any], state: CopyState
    ) -> None:
        """Write rows and the progress, both or neither."""

        async def work(connection: Any) -> None:
            async with transaction(connection):
                await connection.copy_records_to_table(copied.table, records=rows, columns=columns)
                await connection.execute(_SAVE, STATE, _text(state))

        # The client library's own limit does not cover a full send buffer.
        async with asyncio.timeout(WRITE_SECONDS_MAX):
            while True:
                # Events that are newer than the target itself have no partition yet.
                with contextlib.suppress(PartitionMadeError):
                    return await with_partitions(self._connection, work)

    async def checksum(
        self, copied: TableCopy, columns: Sequence[str], advance: Callable[[int], None]
    ) -> Checksum:
        """Read a table back."""
        found = Checksum()
        async for rows in self._read(copied, columns):
            for row in rows:
                found.add(tuple(row))
            advance(len(rows))
        return found

    async def _read(self, copied: TableCopy, columns: Sequence[str]) -> AsyncIterator[list[Any]]:
        names = ", ".join(columns)
        # Skip what the copy itself has written there.
        where = f" WHERE name <> '{STATE}'" if copied.table == "meta" else ""
        sql = f"SELECT {names} FROM {copied.table}{where}"
        async with transaction(self._connection, isolation="repeatable_read", readonly=True):
            cursor = await self._connection.cursor(sql)
            while rows := await cursor.fetch(_READ_ROWS):
                yield rows

    async def finish(self) -> None:
        """Set sequences past the copied rows, and remove the progress."""
        async with transaction(self._connection):
            for table, column in await self._connection.fetch(_IDENTITIES):
                await self._connection.fetchval(
                    f"SELECT setval(pg_get_serial_sequence($1, $2), max({column})) FROM {table}",
                    table,
                    column,
                )
            await self._connection.execute("DELETE FROM meta WHERE name = $1", STATE)


def _text(state: CopyState) -> str:
    return msgspec.json.encode(state).decode()
