"""Dead letters of all projects."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from headrace.store.access.audit import write_audit
from headrace.store.contract.dead_letters import (
    EXAMINED_MAX,
    GROUPED_MAX,
    GROUPS_MAX,
    Closed,
    Closing,
    DeadLetter,
    DeadLetterFilter,
    DeadLetterGroup,
    DeadLetterKind,
    DeadLetterPage,
    DeadLetterState,
)
from headrace.store.deliveries.closings import (
    ClosedBy,
    DeadRow,
    discard_row,
    find_row,
    replay_rows,
    until_settled,
)
from headrace.store.engine.dialect import Statement, sql
from headrace.store.engine.numbers import BIGINT_MAX
from headrace.store.engine.transaction import Database, Row, Transaction

_COLUMNS = (
    "SELECT k.number, k.id, e.id, k.event, k.kind, k.subscriber_id, k.cause, k.error, k.attempts, "
    "k.first_failed_us, k.dead_lettered_us, k.state, k.run_id"
)
_EVENT = "JOIN events AS e ON e.lane = k.lane AND e.sequence = k.sequence"
_GET = sql(f"{_COLUMNS} FROM dead_letters AS k {_EVENT} WHERE k.lane = $1 AND k.number = $2")
#: Only open ones are in the index.
_OPEN = (
    "FROM dead_letters AS d WHERE d.project_id = $1 AND d.state = 0 "
    "AND d.number < $2 AND d.number >= $3"
)
#: The values of `wanted_values`, from $4 on.
MATCHES = (
    "($4::text IS NULL OR d.event = $4) AND ($5::text IS NULL OR d.subscriber_id = $5) "
    "AND ($6::text IS NULL OR d.cause = $6) AND ($7::text IS NULL OR d.kind = $7)"
)
FLOOR = sql(
    "SELECT number FROM dead_letters WHERE project_id = $1 AND state = 0 AND number < $2 "
    "ORDER BY number DESC LIMIT 1 OFFSET $3"
)
# Limited to the page before the events are joined: the planner's estimate of the rest is poor.
LIST = sql(
    f"{_COLUMNS} FROM (SELECT d.* {_OPEN} AND {MATCHES} ORDER BY d.number DESC LIMIT $8) AS k "
    f"{_EVENT} ORDER BY k.number DESC"
)
COUNT = sql(f"SELECT count(*) FILTER (WHERE {MATCHES}), max(d.number) {_OPEN}")
GROUPS = sql(
    "SELECT d.kind, d.subscriber_id, d.cause, d.event, count(*), min(d.dead_lettered_us), "
    f"max(d.dead_lettered_us) {_OPEN} AND {MATCHES} "
    "GROUP BY d.kind, d.subscriber_id, d.cause, d.event"
)


class DeadLetters:
    """Dead letters: lists, counts, and closing one of them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(
        self, project_id: int, wanted: DeadLetterFilter, *, before: int | None, limit: int
    ) -> DeadLetterPage:
        """Open dead letters, newest first, below number `before`."""
        below = BIGINT_MAX if before is None else before
        return await self._database.read(lambda tx: _page(tx, project_id, wanted, below, limit))

    async def groups(self, project_id: int, wanted: DeadLetterFilter) -> Sequence[DeadLetterGroup]:
        """Open dead letters counted by kind, subscriber, cause and event, most frequent first.

        Made of the newest `GROUPED_MAX`, at most `GROUPS_MAX` groups.
        """
        found = _Groups()
        below: int | None = BIGINT_MAX
        for _ in range(GROUPED_MAX // EXAMINED_MAX):
            if below is None:
                break
            rows, below = await self._step(GROUPS, project_id, wanted, below)
            for row in rows:
                found.add(row)
        return found.result()

    async def count(self, project_id: int, wanted: DeadLetterFilter) -> tuple[int, int]:
        """How many open ones match, and the highest number that was examined (0: none)."""
        total, last = 0, 0
        below: int | None = BIGINT_MAX
        while below is not None:
            [[count, highest]], below = await self._step(COUNT, project_id, wanted, below)
            total += count
            last = max(last, highest or 0)
        return total, last

    async def _step(
        self, statement: Statement, project_id: int, wanted: DeadLetterFilter, below: int
    ) -> tuple[Sequence[Row], int | None]:
        """Rows of one step, and below which number the next one continues.

        Each step reads its own snapshot, so that dead rows are not kept for long.
        """

        async def read(tx: Transaction) -> tuple[Sequence[Row], int | None]:
            floor = await _floor(tx, project_id, below)
            values = wanted_values(wanted)
            return await tx.rows(statement, project_id, below, floor or 0, *values), floor

        return await self._database.read(read)

    async def replay(
        self, project_id: int, dead_letter_id: str, now_us: int, *, actor: str
    ) -> Closed:
        """Put what failed back into the queue, with its attempts reset."""
        by = ClosedBy(now_us=now_us, actor=actor, reason=None)

        async def close(tx: Transaction, row: DeadRow) -> Closing:
            closing = (await replay_rows(tx, [row], by))[row.key]
            if closing is Closing.DONE:
                detail = {"dead_letter": dead_letter_id}
                await write_audit(tx, now_us, actor, project_id, "dead_letter.replay", detail)
            return closing

        return await self._close(project_id, dead_letter_id, close)

    async def discard(
        self, project_id: int, dead_letter_id: str, reason: str, now_us: int, *, actor: str
    ) -> Closed:
        """Close it for good; what failed stays as it is."""
        by = ClosedBy(now_us=now_us, actor=actor, reason=reason)

        async def close(tx: Transaction, row: DeadRow) -> Closing:
            closing = await discard_row(tx, row, by)
            if closing is Closing.DONE:
                detail = {"dead_letter": dead_letter_id, "reason": reason}
                await write_audit(tx, now_us, actor, project_id, "dead_letter.discard", detail)
            return closing

        return await self._close(project_id, dead_letter_id, close)

    async def _close(
        self,
        project_id: int,
        dead_letter_id: str,
        close: Callable[[Transaction, DeadRow], Awaitable[Closing]],
    ) -> Closed:
        async def work(tx: Transaction) -> Closed:
            row = await find_row(tx, project_id, dead_letter_id)
            if row is None:
                return Closed(Closing.NOT_FOUND, None)
            closing = await close(tx, row)
            shown = await tx.row(_GET, *row.key)
            return Closed(closing, None if shown is None else _dead_letter(shown))

        return await until_settled(lambda: self._database.write(work))


def wanted_values(wanted: DeadLetterFilter) -> tuple[str | None, ...]:
    """Values of `MATCHES`."""
    kind = None if wanted.kind is None else wanted.kind.value
    return wanted.event, wanted.subscriber_id, wanted.cause, kind


async def _page(
    tx: Transaction, project_id: int, wanted: DeadLetterFilter, below: int, limit: int
) -> DeadLetterPage:
    values = wanted_values(wanted)
    floor = await _floor(tx, project_id, below) if any(values) else None
    rows = await tx.rows(LIST, project_id, below, floor or 0, *values, limit + 1)
    found = [_dead_letter(row) for row in rows[:limit]]
    return DeadLetterPage(found, found[-1].number if len(rows) > limit else floor)


async def _floor(tx: Transaction, project_id: int, below: int) -> int | None:
    """Lowest number that this step examines, None when it can go to the end."""
    found = await tx.value(FLOOR, project_id, below, EXAMINED_MAX - 1)
    return None if found is None else int(found)


def _dead_letter(row: Row) -> DeadLetter:
    """A dead letter.

    Columns: number, id, id and name of the event, kind, subscriber_id, cause, error, attempts,
    first_failed_us, dead_lettered_us, state, run_id.
    """
    number, dead_letter_id, event_id, event, kind, subscriber_id, cause, error, *rest = row
    attempts, first_failed_us, dead_lettered_us, state, run_id = rest
    return DeadLetter(
        number=number,
        id=dead_letter_id,
        event_id=event_id,
        event=event,
        kind=DeadLetterKind(kind),
        subscriber_id=subscriber_id,
        cause=cause,
        error=error,
        attempts=attempts,
        first_failed_us=first_failed_us,
        dead_lettered_us=dead_lettered_us,
        state=DeadLetterState(state),
        run_id=run_id,
    )


class _Groups:
    """Groups of one project, combined from steps; at most `GROUPS_MAX`."""

    def __init__(self) -> None:
        self._found: dict[tuple[Any, ...], DeadLetterGroup] = {}

    def add(self, row: Row) -> None:
        """Columns: kind, subscriber_id, cause, event, count, first and last dead_lettered_us."""
        kind, subscriber_id, cause, event, count, first_us, last_us = row
        key = (kind, subscriber_id, cause, event)
        before = self._found.get(key)
        if before is None and len(self._found) >= GROUPS_MAX:
            return
        self._found[key] = DeadLetterGroup(
            kind=DeadLetterKind(kind),
            subscriber_id=subscriber_id,
            cause=cause,
            event=event,
            count=count + (before.count if before else 0),
            first_us=min(first_us, before.first_us) if before else first_us,
            last_us=max(last_us, before.last_us) if before else last_us,
        )

    def result(self) -> Sequence[DeadLetterGroup]:
        """The most frequent first."""
        return sorted(self._found.values(), key=lambda group: (-group.count, -group.last_us))
