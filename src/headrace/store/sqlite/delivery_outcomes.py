"""SQL of what follows from attempts: delivered, retry, dead letter; rescue and shedding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import apsw
import msgspec

from headrace.domain.ids import lane_of_id
from headrace.store.contract_delivery import (
    ATTEMPTS_KEPT,
    DISABLED_WAIT_US,
    AttemptRecord,
)
from headrace.store.deliveries.endings import (
    Ending,
    after_attempt,
    after_loss,
    after_waiting,
    attempt_values,
)
from headrace.store.rows.rollups import dead_lettered
from headrace.store.sqlite.dead_letter_ids import next_dead_letter
from headrace.store.sqlite.rollups import add_rollups

_FINISH = (
    "UPDATE deliveries SET state = ?, due_us = coalesce(?, due_us), finished_us = ?, "
    "last_error = ?, crashes = ?, owner = NULL, lease_until_us = 0 "
    "WHERE number = ? AND owner = ? AND claims = ? AND state = 1"
)
_ADD_ATTEMPT = (
    "INSERT INTO delivery_attempts (lane, delivery_number, number, at_us, duration_us, cause, "
    "error, http_status, excerpt) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_FORGET_ATTEMPTS = "DELETE FROM delivery_attempts WHERE delivery_number = ? AND number <= ?"
_LANE = (
    "SELECT e.lane FROM deliveries AS d JOIN events AS e ON e.sequence = d.sequence "
    "WHERE d.number = ?"
)
_ADD_DEAD_LETTER = (
    "INSERT INTO dead_letters (lane, number, id, project_id, sequence, event, kind, "
    "subscriber_id, delivery_number, cause, error, attempts, first_failed_us, dead_lettered_us) "
    "SELECT d.lane, :new, :id, d.project_id, d.sequence, e.event, 'delivery', d.subscriber_id, "
    "d.number, :cause, :error, d.attempt, coalesce((SELECT min(at_us) FROM delivery_attempts AS a "
    "WHERE a.delivery_number = d.number AND a.cause IS NOT NULL), :now_us), :now_us "
    "FROM deliveries AS d JOIN events AS e ON e.sequence = d.sequence WHERE d.number = :number"
)
# The last attempts in a row that a worker left without a result.
_LOSSES = (
    "SELECT count(*) FROM delivery_attempts AS a WHERE a.delivery_number = d.number AND a.number > "
    "coalesce((SELECT max(b.number) FROM delivery_attempts AS b "
    "WHERE b.delivery_number = d.number AND b.cause IS NOT 'worker_lost'), 0)"
)
_EXPIRED = (
    "SELECT d.lane, d.number, d.project_id, d.subscriber_id, d.claims, d.crashes, "  # noqa: S608
    f"d.lease_until_us, ({_LOSSES}) FROM deliveries AS d "
    "INDEXED BY deliveries_leased WHERE state = 1 AND lease_until_us {which} LIMIT ?"
)
_EXPIRED_BY_TIME = _EXPIRED.format(which="<= ?")
_EXPIRED_BY_OWNER = _EXPIRED.format(which="> 0 AND owner = ?")
_OWNERS = (
    "SELECT DISTINCT owner FROM deliveries INDEXED BY deliveries_leased "
    "WHERE state = 1 AND lease_until_us > 0"
)
_TAKE_BACK = (
    "UPDATE deliveries SET state = ?, due_us = ?, finished_us = ?, last_error = ?, crashes = ?, "
    "attempt = attempt - 1, owner = NULL, lease_until_us = 0 "
    "WHERE number = ? AND claims = ? AND lease_until_us = ? AND state = 1"
)
_WITHOUT_SUBSCRIBER = """
WITH RECURSIVE waiting (subscriber_id) AS (
    SELECT * FROM (
        SELECT subscriber_id FROM deliveries INDEXED BY deliveries_due
        WHERE state IN (0, 2) ORDER BY subscriber_id LIMIT 1
    )
    UNION ALL
    SELECT following.subscriber_id FROM waiting JOIN deliveries AS following
    ON following.number = (
        SELECT number FROM deliveries INDEXED BY deliveries_due
        WHERE state IN (0, 2) AND subscriber_id > waiting.subscriber_id
        ORDER BY subscriber_id LIMIT 1
    )
)
SELECT waiting.subscriber_id, s.id IS NULL
FROM waiting LEFT JOIN subscribers AS s ON s.id = waiting.subscriber_id
WHERE s.id IS NULL OR (s.enabled = 0 AND s.disabled_us <= ?)
"""
_WAITING_FOR = (
    "SELECT number, project_id FROM deliveries INDEXED BY deliveries_due "
    "WHERE subscriber_id = ? AND state IN (0, 2) LIMIT ?"
)
_SHED = (
    "UPDATE deliveries SET state = 4, finished_us = ?, last_error = ? "
    "WHERE number = ? AND state IN (0, 2)"
)


class Lost(msgspec.Struct, frozen=True):
    """A claim that its owner will not finish."""

    lane: int
    number: int
    project_id: int
    subscriber_id: str
    claim: int
    crashes: int
    lease_until_us: int
    losses: int


def finish(connection: apsw.Connection, owner: str, record: AttemptRecord, now_us: int) -> bool:
    """Record an attempt and what follows; False when the claim is not ours any more."""
    claimed = record.claimed
    ending = after_attempt(record, now_us)
    fence = (claimed.number, owner, claimed.claim)
    connection.execute(_FINISH, (*_ended(ending), *fence))
    if connection.changes() != 1:
        return False
    connection.execute(
        _ADD_ATTEMPT,
        (lane_of_id(claimed.event.id), claimed.number, *attempt_values(record, ending)),
    )
    _forget(connection, claimed.number, claimed.claim)
    if ending.dead:
        _add_dead_letter(connection, claimed.number, ending, now_us)
    return True


def _forget(connection: apsw.Connection, number: int, claim: int) -> None:
    if claim > ATTEMPTS_KEPT:
        connection.execute(_FORGET_ATTEMPTS, (number, claim - ATTEMPTS_KEPT))


def _add_dead_letter(connection: apsw.Connection, number: int, ending: Ending, now_us: int) -> None:
    lane: Any = connection.execute(_LANE, (number,)).fetchone()
    if lane is None:
        # Of an event that is gone there is nothing to deliver, and nobody to tell.
        return
    new, dead_letter_id = next_dead_letter(connection, lane[0])
    values = {"new": new, "id": dead_letter_id, "number": number, "cause": ending.cause}
    connection.execute(_ADD_DEAD_LETTER, values | {"error": ending.error, "now_us": now_us})


def find_lost(
    connection: apsw.Connection, limit: int, is_alive: Callable[[str], bool], now_us: int
) -> list[Lost]:
    """Claims whose lease ran out, and those of dead owners."""
    found: dict[int, Lost] = {}

    def add(statement: str, value: Any) -> None:
        for row in connection.execute(statement, (value, limit - len(found))):
            lost = Lost(*row)
            found[lost.number] = lost

    add(_EXPIRED_BY_TIME, now_us)
    owners = [str(row[0]) for row in connection.execute(_OWNERS)]
    for owner in owners:
        if len(found) < limit and not is_alive(owner):
            add(_EXPIRED_BY_OWNER, owner)
    return list(found.values())


def take_back(connection: apsw.Connection, found: Sequence[Lost], now_us: int) -> list[str]:
    """Take back what was found, unless it was finished or renewed meanwhile; the subscribers."""
    return [lost.subscriber_id for lost in found if _take_back(connection, lost, now_us)]


def _take_back(connection: apsw.Connection, lost: Lost, now_us: int) -> bool:
    ending = after_loss(lost.crashes, lost.losses, now_us)
    fence = (lost.number, lost.claim, lost.lease_until_us)
    connection.execute(_TAKE_BACK, (*_ended(ending), *fence))
    if connection.changes() != 1:
        return False
    attempt = (
        lost.lane,
        lost.number,
        lost.claim,
        now_us,
        0,
        ending.cause,
        ending.error,
        None,
        None,
    )
    connection.execute(_ADD_ATTEMPT, attempt)
    _forget(connection, lost.number, lost.claim)
    if ending.dead:
        _add_dead_letter(connection, lost.number, ending, now_us)
        subscriber = (lost.project_id, lost.subscriber_id)
        add_rollups(connection, dead_lettered([subscriber], now_us))
    return True


def _ended(ending: Ending) -> tuple[Any, ...]:
    """What `_FINISH` and `_TAKE_BACK` set first."""
    return (
        *(ending.state.value, ending.due_us, ending.finished_us),
        *(ending.error, ending.crashes),
    )


def find_unwanted(connection: apsw.Connection, now_us: int) -> list[tuple[str, bool]]:
    """Subscribers that deliveries wait for without a chance, and whether they were deleted."""
    rows = connection.execute(_WITHOUT_SUBSCRIBER, (now_us - DISABLED_WAIT_US,))
    return [(str(row[0]), bool(row[1])) for row in rows]


def shed(connection: apsw.Connection, limit: int, now_us: int) -> int:
    """See `Deliveries.shed`."""
    shed_rows = 0
    for subscriber_id, deleted in find_unwanted(connection, now_us):
        ending = after_waiting(now_us, deleted=deleted)
        left = limit - shed_rows
        rows: list[Any] = connection.execute(_WAITING_FOR, (subscriber_id, left)).fetchall()
        for number, _ in rows:
            connection.execute(_SHED, (now_us, ending.error, number))
            _add_dead_letter(connection, number, ending, now_us)
        dead = ((project_id, subscriber_id) for _, project_id in rows)
        add_rollups(connection, dead_lettered(dead, now_us))
        shed_rows += len(rows)
    return shed_rows
