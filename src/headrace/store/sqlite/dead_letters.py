"""Dead letters in the embedded store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import apsw

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
from headrace.store.engine.transaction import drive
from headrace.store.rows.dead_letters import Groups, dead_letter, wanted_values
from headrace.store.sqlite.dead_letter_moves import DeadRow, discard_row, find_row, replay_row
from headrace.store.sqlite.readers import Readers
from headrace.store.sqlite.transaction import SqliteTransaction
from headrace.store.sqlite.writer import Writer

_NUMBER_MAX = 2**62
_COLUMNS = (
    "SELECT d.number, d.id, e.id, d.event, d.kind, d.subscriber_id, d.cause, d.error, d.attempts, "
    "d.first_failed_us, d.dead_lettered_us, d.state "
)
_EVENT = "JOIN events AS e ON e.sequence = d.sequence"
_GET = f"{_COLUMNS} FROM dead_letters AS d {_EVENT} WHERE d.number = ?"
_LIST = f"{_COLUMNS} FROM dead_letters AS d INDEXED BY dead_letters_open CROSS {_EVENT}"
#: Only open ones are in the index; the hint keeps a change of statistics from choosing another.
_OPEN = (
    "FROM dead_letters INDEXED BY dead_letters_open WHERE project_id = :project_id AND state = 0"
)


class SqliteDeadLetters:
    """See `headrace.store.contract_dead_letters.DeadLetterStore`."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def list(
        self, project_id: int, wanted: DeadLetterFilter, *, before: int | None, limit: int
    ) -> DeadLetterPage:
        below = _NUMBER_MAX if before is None else before
        return await self._readers.run(
            lambda connection: _page(connection, project_id, wanted, below, limit)
        )

    async def groups(self, project_id: int, wanted: DeadLetterFilter) -> Sequence[DeadLetterGroup]:
        found = Groups()
        below: int | None = _NUMBER_MAX
        for _ in range(GROUPED_MAX // EXAMINED_MAX):
            if below is None:
                break
            # Each step reads a snapshot of its own, so that none holds the log for long.
            start = below
            rows, below = await self._readers.run(
                lambda connection, start=start: _grouped(connection, project_id, wanted, start)  # type: ignore[misc]
            )
            for row in rows:
                found.add(row)
        return found.result()

    async def count(self, project_id: int, wanted: DeadLetterFilter) -> tuple[int, int]:
        total, last = 0, 0
        below: int | None = _NUMBER_MAX
        while below is not None:
            start = below
            count, highest, below = await self._readers.run(
                lambda connection, start=start: _counted(connection, project_id, wanted, start)  # type: ignore[misc]
            )
            total += count
            last = max(last, highest)
        return total, last

    async def replay(
        self, project_id: int, dead_letter_id: str, now_us: int, *, actor: str
    ) -> Closed:
        def close(connection: apsw.Connection, row: DeadRow) -> Closing:
            closing = replay_row(connection, row, now_us, actor=actor, reason=None)
            if closing is Closing.DONE:
                detail = {"dead_letter": dead_letter_id}
                drive(
                    write_audit(
                        SqliteTransaction(connection),
                        now_us,
                        actor,
                        project_id,
                        "dead_letter.replay",
                        detail,
                    )
                )
            return closing

        return await self._close(project_id, dead_letter_id, close)

    async def discard(
        self, project_id: int, dead_letter_id: str, reason: str, now_us: int, *, actor: str
    ) -> Closed:
        def close(connection: apsw.Connection, row: DeadRow) -> Closing:
            closing = discard_row(connection, row, now_us, actor=actor, reason=reason)
            if closing is Closing.DONE:
                detail = {"dead_letter": dead_letter_id, "reason": reason}
                drive(
                    write_audit(
                        SqliteTransaction(connection),
                        now_us,
                        actor,
                        project_id,
                        "dead_letter.discard",
                        detail,
                    )
                )
            return closing

        return await self._close(project_id, dead_letter_id, close)

    async def _close(
        self,
        project_id: int,
        dead_letter_id: str,
        close: Callable[[apsw.Connection, DeadRow], Closing],
    ) -> Closed:
        def work(connection: apsw.Connection) -> Closed:
            row = find_row(connection, project_id, dead_letter_id)
            if row is None:
                return Closed(Closing.NOT_FOUND, None)
            closing = close(connection, row)
            shown = connection.execute(_GET, (row.number,)).fetchone()
            return Closed(closing, None if shown is None else dead_letter(shown))

        return await self._writer.run(work)


def conditions(wanted: DeadLetterFilter, prefix: str = "") -> tuple[str, dict[str, Any]]:
    """SQL for a filter, to follow an AND; and its values."""
    given = wanted_values(wanted)
    return " AND ".join(f"{prefix}{name} = :{name}" for name in given) or "TRUE", given


def _page(
    connection: apsw.Connection, project_id: int, wanted: DeadLetterFilter, below: int, limit: int
) -> DeadLetterPage:
    test, values = conditions(wanted, "d.")
    values |= {"project_id": project_id, "below": below}
    floor = _floor(connection, project_id, below) if len(values) > 2 else None
    values |= {"floor": floor or 0, "limit": limit + 1}
    sql = (
        f"{_LIST} WHERE d.project_id = :project_id AND d.state = 0 AND d.number < :below "
        f"AND d.number >= :floor AND {test} ORDER BY d.number DESC LIMIT :limit"
    )
    rows: list[Any] = connection.execute(sql, values).fetchall()
    found = [dead_letter(row) for row in rows[:limit]]
    return DeadLetterPage(found, found[-1].number if len(rows) > limit else floor)


def _floor(connection: apsw.Connection, project_id: int, below: int) -> int | None:
    """Lowest number that this step looks at, None when it can look to the end."""
    row: Any = connection.execute(
        f"SELECT number {_OPEN} AND number < :below ORDER BY number DESC "
        f"LIMIT 1 OFFSET {EXAMINED_MAX - 1}",
        {"project_id": project_id, "below": below},
    ).fetchone()
    return None if row is None else int(row[0])


def _counted(
    connection: apsw.Connection, project_id: int, wanted: DeadLetterFilter, below: int
) -> tuple[int, int, int | None]:
    """Matches of one step, the highest number in it, and where the next one starts."""
    floor = _floor(connection, project_id, below)
    test, values = conditions(wanted)
    values |= {"project_id": project_id, "below": below, "floor": floor or 0}
    row: Any = connection.execute(
        f"SELECT count(*) FILTER (WHERE {test}), max(number) {_OPEN} "
        "AND number < :below AND number >= :floor",
        values,
    ).fetchone()
    return int(row[0]), int(row[1] or 0), floor


def _grouped(
    connection: apsw.Connection, project_id: int, wanted: DeadLetterFilter, below: int
) -> tuple[list[Any], int | None]:
    floor = _floor(connection, project_id, below)
    test, values = conditions(wanted)
    values |= {"project_id": project_id, "below": below, "floor": floor or 0}
    rows = connection.execute(
        "SELECT kind, subscriber_id, cause, event, count(*), min(dead_lettered_us), "
        f"max(dead_lettered_us) {_OPEN} AND number < :below AND number >= :floor AND {test} "
        "GROUP BY kind, subscriber_id, cause, event",
        values,
    ).fetchall()
    return rows, floor
