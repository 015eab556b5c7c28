"""Inputs of one batch share their statements, and each sees what those before it have changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from headrace.domain.automations.running.states import RunStatus
from headrace.store.automations.work import AutomationWork
from headrace.store.engine.dialect import Statement
from headrace.store.engine.transaction import Database, Row, Transaction, Work
from tests.support.session import StoreSession
from tests.support.stored_automations import OWNER, StoredAutomations, chain, delay, wait


class CountingTransaction:
    """Counts statements; `run_many` sends the rows of a statement together."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self.statements = 0

    async def rows(self, statement: Statement, *values: Any) -> Sequence[Row]:
        self.statements += 1
        return await self._tx.rows(statement, *values)

    async def row(self, statement: Statement, *values: Any) -> Row | None:
        self.statements += 1
        return await self._tx.row(statement, *values)

    async def value(self, statement: Statement, *values: Any) -> Any:
        self.statements += 1
        return await self._tx.value(statement, *values)

    async def run(self, statement: Statement, *values: Any) -> int:
        self.statements += 1
        return await self._tx.run(statement, *values)

    async def run_many(self, statement: Statement, rows: Sequence[Sequence[Any]]) -> None:
        self.statements += 1
        await self._tx.run_many(statement, rows)


class CountingDatabase:
    """Counts the statements of each transaction that writes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.statements: list[int] = []

    async def read(self, work: Work[Any], *, snapshot: bool = False) -> Any:
        return await self._database.read(work, snapshot=snapshot)

    async def write(self, work: Work[Any]) -> Any:
        async def counted(tx: Transaction) -> Any:
            counting = CountingTransaction(tx)
            done = await work(counting)
            self.statements.append(counting.statements)
            return done

        return await self._database.write(counted)


@pytest.fixture
def shop(session: StoreSession) -> StoredAutomations:
    return StoredAutomations(session)


def counted(shop: StoredAutomations) -> tuple[AutomationWork, list[int]]:
    """A runner, and the numbers of statements of its transactions."""
    work = shop.new_work()
    database = CountingDatabase(work._database)
    work._database = database
    return work, database.statements


def accept_of(shop: StoredAutomations, name: str, people: range) -> None:
    """Accept and process an event of each of these people."""
    for number in people:
        shop.accept(name, external_id=f"customer-{number}")
    shop.process()


def test_statements_of_a_batch_do_not_grow_with_it(shop: StoredAutomations) -> None:
    steps = (delay(60), wait("done", 10_000), wait("late", 60))
    stops = [{"event_name": "stop"}]
    one_active = {"reentry": {"mode": "one_active"}}
    of = shop.start_with(chain(*steps, exit_on=stops, trigger=one_active))
    work, statements = counted(shop)
    counts: list[list[int]] = []
    for people in (range(2), range(2, 12)):
        accept_of(shop, "go", people)
        shop.session.run(work.work_events(OWNER))
        shop.clock.forward(60)
        shop.session.run(work.work_timers(OWNER))
        accept_of(shop, "done", people)
        shop.session.run(work.work_events(OWNER))
        shop.clock.forward(60)
        shop.session.run(work.work_timers(OWNER))
        counts.append(statements[:])
        statements.clear()
    assert [row.status for row in shop.runs(of)] == [RunStatus.COMPLETED] * 12
    few, many = counts
    # The first transaction of all also reads the version.
    assert [few[0] - 1, *few[1:]] == many


def test_run_that_a_batch_has_started_takes_its_next_events(shop: StoredAutomations) -> None:
    of = shop.start_with(chain(wait("done", 60, filters={"payload.right": True})))
    shop.accept("go")
    shop.accept("done", {"right": False})
    shop.accept("done", {"right": 1})
    shop.process()
    shop.session.run(shop.work.work_events(OWNER))
    detail = shop.detail(of)
    assert detail.row.status is RunStatus.WAITING
    reasons = ["started", "wait_begun", *["event_ignored"] * 4]
    assert [note.reason.value for note in detail.notes] == reasons
    assert [note.number for note in detail.notes] == list(range(6))
    shop.send("done", {"right": True})
    assert shop.path(of) == [("s0", "received")]


def test_other_run_of_a_batch_is_rejected_while_the_first_is_open(shop: StoredAutomations) -> None:
    reentry = {"reentry": {"mode": "once_per", "seconds": 100}}
    of = shop.start_with(chain(delay(60), trigger=reentry))
    for external_id in ("customer-1", "customer-2", "customer-1", "customer-2"):
        shop.accept("go", external_id=external_id)
    shop.process()
    shop.session.run(shop.work.work_events(OWNER))
    assert len(shop.runs(of)) == 2
    assert shop.reasons(of) == ["reentry_cooldown"] * 2
