"""Runs whose rows a transaction has locked: read together, and written together at its end."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from headrace.domain.automations.running.runs import Run
from headrace.store.automations.run_rows import COLUMNS, key_of, read_state, run_row, state_text
from headrace.store.contract.automations import RunRow
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Row, Transaction

_COLUMNS = f"{COLUMNS}, state, notes"
HOLD_RUN = sql(f"SELECT {_COLUMNS} FROM automation_runs WHERE lane = $1 AND id = $2 FOR UPDATE")
HOLD_RUNS = sql(
    f"SELECT {', '.join(f'r.{name}' for name in _COLUMNS.split(', '))} "
    "FROM unnest($1::smallint[], $2::text[]) AS k (lane, id) "
    "JOIN automation_runs r ON r.lane = k.lane AND r.id = k.id FOR UPDATE OF r"
)
_INSERT_RUN = sql(
    f"INSERT INTO automation_runs (lane, {_COLUMNS}) "
    f"VALUES ({', '.join(f'${n}' for n in range(1, len(_COLUMNS.split(', ')) + 2))})"
)
_UPDATE_RUN = sql(
    "UPDATE automation_runs SET status = $3, reason = $4, outcome = $5, at_step = $6, state = $7, "
    "due_us = $8, notes = $9, finished_us = $10, attempt = 0, error = NULL, first_failed_us = NULL "
    "WHERE lane = $1 AND id = $2"
)


class HeldRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run whose row is locked until the end of the transaction."""

    row: RunRow
    run: Run
    #: How many notes it has.
    notes: int
    #: Not stored yet: it begins in this transaction.
    is_new: bool = False


class HeldRuns:
    """Runs of one transaction. What is put here is in the database once `write` returns."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._read: dict[str, HeldRun] = {}
        self._new: dict[str, HeldRun] = {}
        self._changed: dict[str, HeldRun] = {}

    async def read(self, run_ids: Iterable[str]) -> None:
        """Lock runs with one statement; `hold` then returns them."""
        keys = sorted(map(key_of, set(run_ids)))
        if keys:
            for row in await self._tx.rows(HOLD_RUNS, *columns_of(keys, 2)):
                held = _held(row)
                self._read[held.row.id] = held

    async def hold(self, run_id: str) -> HeldRun | None:
        """Lock a run until the end of the transaction; returns it as it was put last."""
        for known in (self._new, self._changed, self._read):
            if run_id in known:
                return known[run_id]
        row = await self._tx.row(HOLD_RUN, *key_of(run_id))
        return None if row is None else _held(row)

    def put(self, held: HeldRun) -> HeldRun:
        """Write a run at the end of the transaction; returns it as it is then."""
        run_id = held.row.id
        stored = msgspec.structs.replace(held, is_new=False)
        is_new = held.is_new or run_id in self._new
        (self._new if is_new else self._changed)[run_id] = stored
        return stored

    async def write(self) -> None:
        """Write what was put here, with two statements."""
        if self._new:
            await self._tx.run_many(_INSERT_RUN, [_inserted(each) for each in self._new.values()])
        if self._changed:
            changed = [_updated(each) for each in self._changed.values()]
            await self._tx.run_many(_UPDATE_RUN, changed)
        self._new.clear()
        self._changed.clear()


def _held(row: Row) -> HeldRun:
    return HeldRun(row=run_row(row), run=read_state(row[-2]), notes=row[-1])


def _inserted(held: HeldRun) -> Row:
    lane, _ = key_of(held.row.id)
    return lane, *msgspec.structs.astuple(held.row), state_text(held.run), held.notes


def _updated(held: HeldRun) -> Row:
    row = held.row
    return (
        *key_of(row.id),
        *(row.status, row.reason, row.outcome, row.at_step),
        *(state_text(held.run), row.due_us, held.notes, row.finished_us),
    )
