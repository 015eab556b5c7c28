"""Claims events in the lanes of a worker, inside a fenced transaction.

Only the owner of a lane claims in it, so events of one identity are processed in order of receipt
and workers do not wait for each other's locks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import takewhile
from typing import Any, NamedTuple

from headrace.domain.ids import received_us_of
from headrace.store.contract.processing import CLAIMED_CHARACTERS_MAX, Claimed
from headrace.store.engine.columns import columns_of
from headrace.store.engine.postgres.database import Connection
from headrace.store.queues.postgres.queue_cursor import QueueCursor, Ranges

#: Due retries that one claim returns to the queue.
RETRIES_MAX = 64
#: Projects that share one claim.
PROJECTS_MAX = 64
#: Ranges of the queue that one statement scans.
PARTS_MAX = 64
#: Larger payloads are fetched one by one, as long as there is room.
PAYLOAD_BYTES_INLINE = 16 * 1024

NEXT = (
    "SELECT lane, sequence, queued_us, attempt, crashes FROM event_queue "
    "WHERE lane = ANY($1::smallint[]) AND project_id = $2 AND queued_us >= $3 AND owner IS NULL "
    "ORDER BY queued_us, sequence LIMIT $4"
)
IN_PROGRESS = (
    "SELECT (extract(epoch FROM statement_timestamp()) * 1000000)::bigint, "
    "pg_snapshot_xmin(s)::text::bigint, pg_snapshot_xmax(s)::text::bigint "
    "FROM pg_current_snapshot() s"
)
_PART = (
    "(SELECT project_id FROM event_queue WHERE lane = ANY($1::smallint[]) AND (project_id, "
    "queued_us) > "
    "(($2::bigint[])[{n}], ($3::bigint[])[{n}]) AND project_id < ($4::bigint[])[{n}] "
    "AND owner IS NULL ORDER BY project_id, queued_us, sequence LIMIT 1)"
)
READ = (
    "SELECT e.sequence, e.id, e.project_id, e.lane, e.event, e.contact_id, e.external_id, e.email, "
    "e.email_original, e.occurred_us, e.received_us, e.source, octet_length(e.payload), "
    f"CASE WHEN octet_length(e.payload) <= {PAYLOAD_BYTES_INLINE} THEN e.payload END "
    "FROM unnest($1::smallint[], $2::bigint[]) AS k (lane, sequence) "
    "JOIN events e ON e.lane = k.lane AND e.sequence = k.sequence"
)
_PAYLOAD = "SELECT payload FROM events WHERE lane = $1 AND sequence = $2"
TAKE = (
    "UPDATE event_queue w SET owner = $3, attempt = w.attempt + 1 "
    "FROM unnest($1::smallint[], $2::bigint[]) AS k (lane, sequence) "
    "WHERE w.lane = k.lane AND w.sequence = k.sequence AND w.owner IS NULL"
)
DROP = (
    "DELETE FROM event_queue w USING unnest($1::smallint[], $2::bigint[], $3::smallint[]) "
    "AS k (lane, sequence, attempt) WHERE w.lane = k.lane AND w.sequence = k.sequence "
    "AND w.owner = $4 AND w.attempt = k.attempt RETURNING w.sequence"
)
RETRIES_DUE = (
    "SELECT lane, sequence FROM event_retries WHERE lane = ANY($1::smallint[]) AND due_us <= $2 "
    "ORDER BY due_us LIMIT $3"
)
RETRY = (
    "DELETE FROM event_retries r USING unnest($1::smallint[], $2::bigint[]) AS k (lane, sequence) "
    "WHERE r.lane = k.lane AND r.sequence = k.sequence "
    "RETURNING r.lane, r.sequence, r.project_id, r.attempt, r.crashes, r.due_us"
)
_REQUEUE = (
    "INSERT INTO event_queue (lane, sequence, project_id, attempt, crashes, queued_us) "
    "SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::int[], $4::smallint[], "
    "$5::smallint[], $6::bigint[])"
)


class Candidate(NamedTuple):
    """A row of the queue."""

    lane: int
    sequence: int
    queued_us: int
    attempt: int
    crashes: int


class ClaimTurn:
    """One poll of the queue by a worker that holds `lanes`.

    Args:
        cursor: what is known of the queue; updated by the poll.
        now_us: the store's clock, for retries.
        database_us: clock of the database, taken in this transaction.
    """

    def __init__(
        self,
        connection: Connection,
        lanes: Sequence[int],
        cursor: QueueCursor,
        *,
        now_us: int,
        database_us: int,
    ) -> None:
        self._connection = connection
        self._lanes = lanes
        self._cursor = cursor
        self._now_us = now_us
        self._database_us = database_us

    async def anything_due(self) -> bool:
        """Whether a claim would find something."""
        await self._begin()
        if await self._due_retries(1):
            return True
        for project_id in self._cursor.in_turn()[:1]:
            # The likeliest one; the others are queried together.
            if await self._next(project_id, 1):
                return True
        if not self._cursor.may_scan_projects():
            return False
        found = await self._projects_in(self._cursor.ranges(all_known=True))
        if not found:
            self._cursor.nothing_due(self._database_us)
        self._cursor.add(found)
        return bool(found)

    async def claim(self, owner: str, limit: int) -> list[Claimed]:
        """Claim up to `limit` events, an equal share of each project that has some.

        An event that a worker crashed on is claimed alone, so that a second crash identifies it. A
        batch ends before such an event, which then begins the next one.
        """
        await self._begin()
        await self._requeue_retries()
        scanned = self._cursor.project_scan_due()
        if scanned:
            await self._scan_projects()
        picked, more = await self._pick(self._cursor.in_turn()[:PROJECTS_MAX], limit)
        if more and not scanned and self._cursor.may_scan_projects():
            found = await self._scan_projects()
            picked += (await self._pick(found[:PROJECTS_MAX], more, alone=not picked))[0]
        return await self._take(owner, picked) if picked else []

    async def _begin(self) -> None:
        self._cursor.begin(self._database_us)
        if self._cursor.settle_due():
            self._cursor.settle(*await self._connection.fetchrow(IN_PROGRESS))

    async def _pick(
        self, projects: Sequence[int], limit: int, *, alone: bool = True
    ) -> tuple[list[Candidate], int]:
        """The next candidates, and how many more fit.

        Args:
            alone: whether nothing was picked before, so that a suspect may be taken.
        """
        picked: list[Candidate] = []
        for index, project_id in enumerate(projects):
            share = max(1, (limit - len(picked)) // (len(projects) - index))
            rows = await self._next(project_id, share)
            if not rows:
                self._cursor.scanned(project_id, None, self._database_us)
                continue
            suspect = rows[0].crashes > 0
            if suspect and (picked or not alone):
                return picked, 0
            chosen = rows[:1] if suspect else list(takewhile(lambda row: not row.crashes, rows))
            ended = len(rows) < share and len(chosen) == len(rows)
            last_us = None if ended else chosen[-1].queued_us
            self._cursor.scanned(project_id, last_us, self._database_us)
            self._cursor.note_served(project_id)
            picked += chosen
            if suspect or len(picked) >= limit:
                return picked, 0
        return picked, limit - len(picked)

    async def _next(self, project_id: int, limit: int) -> list[Candidate]:
        bound_us = self._cursor.bound_us(project_id)
        rows = await self._connection.fetch(NEXT, self._lanes, project_id, bound_us, limit)
        return [Candidate(*row) for row in rows]

    async def _scan_projects(self) -> list[int]:
        """Find every project that has events; returns those that no claim would have queried."""
        found: list[int] = []
        while True:
            asked = {*self._cursor.in_turn()}
            fresh = await self._projects_in(self._cursor.ranges(all_known=False))
            self._cursor.add(fresh)
            fresh &= {*self._cursor.in_turn()} - asked
            if not fresh:
                break
            found += sorted(fresh)
        self._cursor.note_project_scan()
        return found

    async def _projects_in(self, ranges: Ranges) -> set[int]:
        """The first project that has events in each range of the queue."""
        found: set[int] = set()
        began_s = self._cursor.monotonic_s()
        for start in range(0, len(ranges[0]), PARTS_MAX):
            part = [column[start : start + PARTS_MAX] for column in ranges]
            rows = await self._connection.fetch(parts(len(part[0])), self._lanes, *part)
            found.update(row[0] for row in rows)
        self._cursor.note_duration(self._cursor.monotonic_s() - began_s)
        return found

    async def _take(self, owner: str, picked: Sequence[Candidate]) -> list[Claimed]:
        keys = [[row.lane for row in picked], [row.sequence for row in picked]]
        rows = {row[0]: row for row in await self._connection.fetch(READ, *keys)}
        claimed: list[Claimed] = []
        room = CLAIMED_CHARACTERS_MAX
        for candidate in picked:
            row = rows.get(candidate.sequence)
            if row is None:
                # Erased since the scan, with its row in the queue.
                continue
            *values, octets, payload = row
            if room <= 0:
                self._cursor.requeue(values[2], candidate.queued_us)
                continue
            if payload is None:
                payload = await self._connection.fetchval(_PAYLOAD, *candidate[:2])
            if payload is None:
                continue
            room -= octets
            attempt = candidate.attempt + 1
            claimed.append(Claimed(*(*values, attempt, candidate.crashes, payload)))
        taken = [[c.lane for c in claimed], [c.sequence for c in claimed]]
        await self._connection.execute(TAKE, *taken, owner)
        return claimed

    async def _due_retries(self, limit: int) -> list[Any]:
        return await self._connection.fetch(RETRIES_DUE, self._lanes, self._now_us, limit)

    async def _requeue_retries(self) -> None:
        due = await self._due_retries(RETRIES_MAX)
        if not due:
            return
        back = await self._connection.fetch(RETRY, *columns_of(due, 2))
        rows = [(*row[:5], self._place(row[1], row[2], row[5])) for row in back]
        await self._connection.execute(_REQUEUE, *columns_of(rows, 6))
        self._cursor.add({row[2] for row in rows})

    def _place(self, sequence: int, project_id: int, due_us: int) -> int:
        """Queue position of a retry: by its receipt, but not before where a claim begins."""
        return max(min(received_us_of(sequence), due_us), self._cursor.bound_us(project_id))


@lru_cache(maxsize=PARTS_MAX)
def parts(count: int) -> str:
    """A statement that scans so many ranges of the queue."""
    return " UNION ALL ".join(_PART.format(n=n) for n in range(1, count + 1))


async def drop(connection: Connection, owner: str, batch: Sequence[Claimed]) -> list[Claimed]:
    """Remove finished events from the queue; returns those of the batch whose claim held."""
    columns = columns_of(((c.lane, c.sequence, c.attempt) for c in batch), 3)
    rows = await connection.fetch(DROP, *columns, owner)
    held = {row[0] for row in rows}
    return [claimed for claimed in batch if claimed.sequence in held]
