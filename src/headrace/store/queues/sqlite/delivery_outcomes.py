"""Ends claims in the embedded store, one statement each.

A prepared statement for each row takes a quarter of the time that arrays in JSON take.
"""

from __future__ import annotations

from collections.abc import Sequence

from headrace.store.contract.deliveries import ATTEMPTS_KEPT
from headrace.store.deliveries.claim_ends import End
from headrace.store.engine.sqlite.transaction import SqliteTransaction
from headrace.store.engine.transaction import Transaction
from headrace.store.queues.sqlite.dead_letter_ids import next_dead_letters

# Fenced by the claim, and by `{fence}`.
_END = (
    "UPDATE deliveries SET state = ?4, due_us = coalesce(?5, due_us), finished_us = ?6, "
    "last_error = ?7, crashes = ?8, owner = NULL, lease_until_us = 0, "
    "attempt = attempt - {uncounted} "
    "WHERE number = ?2 AND lane = ?1 AND claims = ?3 AND state = 1 AND {fence} = ?9"
)
_FINISH = _END.format(uncounted=0, fence="owner")
_TAKE_BACK = _END.format(uncounted=1, fence="lease_until_us")
_ADD_ATTEMPT = (
    "INSERT INTO delivery_attempts (lane, delivery_number, number, at_us, duration_us, cause, "
    "error, http_status, excerpt, version, signed_s, response_headers) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_FORGET_ATTEMPTS = "DELETE FROM delivery_attempts WHERE delivery_number = ? AND number <= ?"


class SqliteOutcomes:
    """See `headrace.store.deliveries.claim_ends.Outcomes`."""

    async def end(self, tx: Transaction, ends: Sequence[End], *, lost: bool) -> frozenset[int]:
        assert isinstance(tx, SqliteTransaction)
        connection, statement = tx.connection, _TAKE_BACK if lost else _FINISH
        ended_numbers = set()
        for end in ends:
            connection.execute(statement, end.values)
            if connection.changes() != 1:
                continue
            ended_numbers.add(end.number)
            connection.execute(_ADD_ATTEMPT, (end.lane, end.number, *end.attempt))
            if end.claim > ATTEMPTS_KEPT:
                connection.execute(_FORGET_ATTEMPTS, (end.number, end.claim - ATTEMPTS_KEPT))
        return frozenset(ended_numbers)

    async def dead_letter_ids(
        self, tx: Transaction, lanes: Sequence[int]
    ) -> Sequence[tuple[int, str]]:
        assert isinstance(tx, SqliteTransaction)
        return next_dead_letters(tx.connection, lanes)
