"""Guarantees for shared code, on both databases."""

from __future__ import annotations

import asyncio

import pytest

from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Database, Transaction, WaitsError, drive
from headrace.store.sqlite import SqliteStore
from tests.support.session import StoreSession

_ADD = sql("INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
_ALL = sql("SELECT name, value FROM meta WHERE name = ANY($1::text[]) ORDER BY name")
_LOCK = sql("SELECT value FROM meta WHERE name = $1 FOR UPDATE")
_VALUE = sql("SELECT value FROM meta WHERE name = $1")
_ELSEWHERE = sql("DELETE FROM meta WHERE name = $1", sqlite="")
_REMOVE = sql("DELETE FROM meta WHERE name = ANY($1::text[]) RETURNING name")


@pytest.fixture
def database(session: StoreSession) -> Database:
    database: Database = session.store.database
    return database


async def _add(tx: Transaction, *names: str) -> list[int]:
    return [await tx.run(_ADD, name, name.upper()) for name in names]


def test_statements_of_one_transaction(session: StoreSession, database: Database) -> None:
    async def work(tx: Transaction) -> None:
        assert await _add(tx, "a", "b", "a") == [1, 1, 0]
        await tx.run_many(_ADD, [("c", "C"), ("d", "D")])
        await tx.run_many(_ADD, [])
        rows = await tx.rows(_ALL, ["a", "c", "nobody"])
        assert [tuple(row) for row in rows] == [("a", "A"), ("c", "C")]
        found = await tx.row(_ALL, ["d", "b"])
        assert found is not None
        assert tuple(found) == ("b", "B")
        assert await tx.row(_ALL, []) is None
        assert await tx.value(_LOCK, "d") == "D"
        assert await tx.value(_VALUE, "nobody") is None
        assert await tx.run(_REMOVE, ["a", "b", "nobody"]) == 2

    session.run(database.write(work))
    left = session.run(database.read(lambda tx: tx.rows(_ALL, ["a", "b", "c", "d"]), snapshot=True))
    assert [row[0] for row in left] == ["c", "d"]


def test_error_rolls_back_everything(session: StoreSession, database: Database) -> None:
    async def work(tx: Transaction) -> None:
        await _add(tx, "a")
        message = "stop"
        raise LookupError(message)

    with pytest.raises(LookupError, match="stop"):
        session.run(database.write(work))
    assert session.run(database.read(lambda tx: tx.value(_VALUE, "a"))) is None


def test_statement_without_sqlite_text_changes_nothing(
    session: StoreSession, database: Database
) -> None:
    async def work(tx: Transaction) -> tuple[int, int]:
        await tx.run(_ADD, "kept", "1")
        return await tx.run(_ELSEWHERE, "kept"), await tx.run(_REMOVE, ["kept"])

    expected = (0, 1) if isinstance(session.store, SqliteStore) else (1, 0)
    assert session.run(database.write(work)) == expected


def test_work_on_sqlite_must_not_suspend(session: StoreSession) -> None:
    async def work(tx: Transaction) -> None:
        await _add(tx, "a")
        await asyncio.get_running_loop().create_future()

    if not isinstance(session.store, SqliteStore):
        # A connection of PostgreSQL suspends like everything else.
        return
    with pytest.raises(RuntimeError):
        session.run(session.store.database.write(work))
    assert session.run(session.store.database.read(lambda tx: tx.value(_VALUE, "a"))) is None


def test_suspending_coroutine_is_not_driven_and_is_closed() -> None:
    closed = []

    async def work() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            closed.append(True)

    with pytest.raises(WaitsError, match="only its own statements"):
        drive(work())
    assert closed == [True]
