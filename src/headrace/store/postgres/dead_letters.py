"""Dead letters on PostgreSQL."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from headrace.store.access.audit import write_audit
from headrace.store.contract_dead_letters import (
    EXAMINED_MAX,
    GROUPED_MAX,
    Closed,
    Closing,
    DeadLetterFilter,
    DeadLetterGroup,
    DeadLetterPage,
)
from headrace.store.postgres.database import Connection, Database
from headrace.store.postgres.dead_letter_moves import (
    DeadRow,
    Move,
    discard_row,
    find_row,
    replay_rows,
    until_settled,
)
from headrace.store.postgres.transaction import PostgresTransaction
from headrace.store.rows.dead_letters import Groups, dead_letter, wanted_values

_NUMBER_MAX = 2**62
_COLUMNS = (
    "SELECT d.number, d.id, e.id, d.event, d.kind, d.subscriber_id, d.cause, d.error, d.attempts, "
    "d.first_failed_us, d.dead_lettered_us, d.state"
)
_EVENT = "JOIN events AS e ON e.lane = d.lane AND e.sequence = d.sequence"
_GET = f"{_COLUMNS} FROM dead_letters AS d {_EVENT} WHERE d.lane = $1 AND d.number = $2"
#: Only open ones are in the index.
_OPEN = (
    "FROM dead_letters AS d WHERE d.project_id = $1 AND d.state = 0 "
    "AND d.number < $2 AND d.number >= $3"
)
FLOOR = (
    "SELECT number FROM dead_letters WHERE project_id = $1 AND state = 0 AND number < $2 "
    "ORDER BY number DESC LIMIT 1 OFFSET $3"
)
# Cut to the page before the events are looked up: of how many that many are, the planner knows
# little.
LIST = (
    f"{_COLUMNS} FROM (SELECT d.* {_OPEN} AND {{test}} ORDER BY d.number DESC LIMIT $4) AS d "
    f"{_EVENT} ORDER BY d.number DESC"
)
COUNT = f"SELECT count(*) FILTER (WHERE {{test}}), max(d.number) {_OPEN}"
GROUPS = (
    "SELECT d.kind, d.subscriber_id, d.cause, d.event, count(*), min(d.dead_lettered_us), "
    f"max(d.dead_lettered_us) {_OPEN} AND {{test}} "
    "GROUP BY d.kind, d.subscriber_id, d.cause, d.event"
)


class PostgresDeadLetters:
    """See `headrace.store.contract_dead_letters.DeadLetterStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(
        self, project_id: int, wanted: DeadLetterFilter, *, before: int | None, limit: int
    ) -> DeadLetterPage:
        below = _NUMBER_MAX if before is None else before

        async def read(connection: Connection) -> DeadLetterPage:
            return await _page(connection, project_id, wanted, below, limit)

        return await self._database.read(read)

    async def groups(self, project_id: int, wanted: DeadLetterFilter) -> Sequence[DeadLetterGroup]:
        found = Groups()
        below: int | None = _NUMBER_MAX
        for _ in range(GROUPED_MAX // EXAMINED_MAX):
            if below is None:
                break
            rows, below = await self._step(GROUPS, project_id, wanted, below)
            for row in rows:
                found.add(row)
        return found.result()

    async def count(self, project_id: int, wanted: DeadLetterFilter) -> tuple[int, int]:
        total, last = 0, 0
        below: int | None = _NUMBER_MAX
        while below is not None:
            [[count, highest]], below = await self._step(COUNT, project_id, wanted, below)
            total += count
            last = max(last, highest or 0)
        return total, last

    async def _step(
        self, sql: str, project_id: int, wanted: DeadLetterFilter, below: int
    ) -> tuple[Sequence[Any], int | None]:
        """Rows of one step, and below which number the next one looks."""

        async def read(connection: Connection) -> tuple[Sequence[Any], int | None]:
            floor = await _floor(connection, project_id, below)
            test, values = conditions(wanted, 4)
            found = await connection.fetch(
                sql.format(test=test), project_id, below, floor or 0, *values
            )
            return found, floor

        return await self._database.read(read)

    async def replay(
        self, project_id: int, dead_letter_id: str, now_us: int, *, actor: str
    ) -> Closed:
        move = Move(now_us=now_us, actor=actor, reason=None)

        async def close(connection: Connection, row: DeadRow) -> Closing:
            closing = (await replay_rows(connection, [row], move))[row.key]
            if closing is Closing.DONE:
                detail = {"dead_letter": dead_letter_id}
                action = "dead_letter.replay"
                await write_audit(
                    PostgresTransaction(connection), now_us, actor, project_id, action, detail
                )
            return closing

        return await self._close(project_id, dead_letter_id, close)

    async def discard(
        self, project_id: int, dead_letter_id: str, reason: str, now_us: int, *, actor: str
    ) -> Closed:
        move = Move(now_us=now_us, actor=actor, reason=reason)

        async def close(connection: Connection, row: DeadRow) -> Closing:
            closing = await discard_row(connection, row, move)
            if closing is Closing.DONE:
                detail = {"dead_letter": dead_letter_id, "reason": reason}
                action = "dead_letter.discard"
                await write_audit(
                    PostgresTransaction(connection), now_us, actor, project_id, action, detail
                )
            return closing

        return await self._close(project_id, dead_letter_id, close)

    async def _close(
        self,
        project_id: int,
        dead_letter_id: str,
        close: Callable[[Connection, DeadRow], Awaitable[Closing]],
    ) -> Closed:
        async def work(connection: Connection) -> Closed:
            row = await find_row(connection, project_id, dead_letter_id)
            if row is None:
                return Closed(Closing.NOT_FOUND, None)
            closing = await close(connection, row)
            shown = await connection.fetchrow(_GET, *row.key)
            return Closed(closing, None if shown is None else dead_letter(shown))

        return await until_settled(lambda: self._database.write(work))


def conditions(wanted: DeadLetterFilter, given: int) -> tuple[str, list[str]]:
    """SQL for a filter, to follow an AND, and its values; the statement has `given` already."""
    values = wanted_values(wanted)
    tests = [f"d.{name} = ${number}" for number, name in enumerate(values, given)]
    return " AND ".join(tests) or "TRUE", [*values.values()]


async def _page(
    connection: Connection, project_id: int, wanted: DeadLetterFilter, below: int, limit: int
) -> DeadLetterPage:
    test, values = conditions(wanted, 5)
    floor = await _floor(connection, project_id, below) if values else None
    rows = await connection.fetch(
        LIST.format(test=test), project_id, below, floor or 0, limit + 1, *values
    )
    found = [dead_letter(row) for row in rows[:limit]]
    return DeadLetterPage(found, found[-1].number if len(rows) > limit else floor)


async def _floor(connection: Connection, project_id: int, below: int) -> int | None:
    """Lowest number that this step looks at, None when it can look to the end."""
    found = await connection.fetchval(FLOOR, project_id, below, EXAMINED_MAX - 1)
    return None if found is None else int(found)
