"""Assigns lanes to workers.

A worker proves that it is alive by renewing its row, and holds its fair share of the lanes. Its
writes lock that row (`Lanes.fence`); a worker that takes its lanes over deletes the row first. So a
worker that was paused past its lease changes nothing, even if it still believes to hold lanes.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from headrace.domain.events.identity import LANES
from headrace.process_names import is_alive
from headrace.store.contract.errors import LeadershipLostError
from headrace.store.engine.postgres.database import Connection, Database
from headrace.store.engine.postgres.transaction import rows_changed

#: A worker stops using its lanes so long before others may take them.
SAFETY_SECONDS = 2.0
#: The server ends the session of a worker that is paused inside a transaction after so long: before
#: its lease runs out, so that its locks do not keep others from its lanes. The second limit, longer
#: than any of these transactions and known since PostgreSQL 17, is for a worker that stops between
#: the text of a statement and its values, which the first one does not cover.
PAUSED = (
    "SET LOCAL idle_in_transaction_session_timeout = '5s'; "
    "SELECT set_config('transaction_timeout', '12s', true) "
    "WHERE current_setting('server_version_num')::int >= 170000"
)
#: Held while lanes are reassigned, so that workers never decide about the same ones at once.
REASSIGNING = 7_267_001

_CLOCK = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_RENEW = "UPDATE workers SET lease_until_us = $2 WHERE owner = $1 RETURNING epoch"
# Only while nothing is to be reassigned: no lane is free, and all others are known and alive.
_KEEP = (
    "UPDATE workers SET lease_until_us = $2 WHERE owner = $1 AND epoch = $3 "
    "AND NOT EXISTS (SELECT 1 FROM lanes WHERE owner IS NULL) "
    "AND $4::text[] = ARRAY(SELECT w.owner FROM workers w WHERE w.owner <> $1 "
    "AND w.lease_until_us > $5 ORDER BY w.owner) "
    "AND NOT EXISTS (SELECT 1 FROM workers w WHERE w.owner <> $1 AND w.lease_until_us <= $5) "
    "RETURNING epoch"
)
_JOIN = "INSERT INTO workers (owner, epoch, lease_until_us) VALUES ($1, 0, $2)"
_OTHERS = "SELECT owner, lease_until_us FROM workers WHERE owner <> $1"
# A locked row belongs to a write in progress; the next sweep finds it free.
_REMOVE_DEAD = (
    "DELETE FROM workers WHERE owner IN (SELECT owner FROM workers WHERE owner = ANY($1) "
    "FOR UPDATE SKIP LOCKED) RETURNING owner"
)
_FREE = "UPDATE lanes SET owner = NULL WHERE owner = ANY($1)"
_LANES = "SELECT lane, owner FROM lanes WHERE owner IS NULL OR owner = $1 ORDER BY lane"
_TAKE = "UPDATE lanes SET owner = $1 WHERE lane = ANY($2)"
_HAND_BACK = "UPDATE lanes SET owner = NULL WHERE owner = $1 AND lane = ANY($2)"
_NEW_EPOCH = "UPDATE workers SET epoch = nextval('worker_epochs') WHERE owner = $1 RETURNING epoch"
# Claims in lanes that are handed back are released without counting the attempt.
GIVE_BACK = (
    "UPDATE event_queue SET owner = NULL, attempt = attempt - 1 WHERE lane = ANY($1) AND owner = $2"
)
_FENCE = (
    "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us, "
    "coalesce((SELECT value::bigint FROM meta WHERE name = 'subscribers_version'), 0) AS version "
    "FROM workers WHERE owner = $1 AND epoch = $2 FOR KEY SHARE OF workers"
)

#: Returns the time, inside a transaction.
ReadClock = Callable[[Connection], Awaitable[int]]


async def database_clock(connection: Connection) -> int:
    """The clock that all machines share."""
    return int(await connection.fetchval(_CLOCK))


class Fenced(msgspec.Struct, frozen=True):
    """What a worker's write learns while it holds its lanes."""

    now_us: int
    subscribers_version: int


class _Held(msgspec.Struct, frozen=True):
    epoch: int
    lanes: tuple[int, ...]
    #: By this machine's monotonic clock.
    safe_until_s: float
    #: The other live workers among which the lanes were shared, sorted.
    others: tuple[str, ...]


class Lanes:
    """The lanes that workers of this process hold; shared by everything that claims.

    Args:
        read_clock: leases are by the clock of the database.
        is_alive: whether the process that an owner names may still run. Lanes of a dead one on this
            machine are taken over at once instead of at the end of its lease.
    """

    def __init__(
        self,
        database: Database,
        *,
        read_clock: ReadClock = database_clock,
        is_alive: Callable[[str], bool] = is_alive,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._read_clock = read_clock
        self._is_alive = is_alive
        self._monotonic_s = monotonic_s
        self._held: dict[str, _Held] = {}

    def held(self, owner: str | None = None) -> Sequence[int]:
        """Lanes that are held and safe to use now, of one owner or of all in this process."""
        now_s = self._monotonic_s()
        held = self._held.values() if owner is None else filter(None, [self._held.get(owner)])
        return sorted(lane for one in held if now_s < one.safe_until_s for lane in one.lanes)

    async def fence(self, connection: Connection, owner: str) -> Fenced:
        """Keep others from taking the lanes of `owner` until the transaction ends.

        Raises:
            LeadershipLostError: another worker has taken them.
        """
        held = self._held.get(owner)
        row = held and await connection.fetchrow(_FENCE, owner, held.epoch)
        if not row:
            raise LeadershipLostError
        return Fenced(row[0], row[1])

    async def renew(self, owner: str, lease_us: int) -> int | None:
        """Renew the lease and take or hand back lanes up to the fair share.

        1. renew the own row, or join with a new one; 2. remove workers whose lease has ended and
        free their lanes; 3. hand back lanes above the fair share; 4. take free lanes up to it.

        Returns:
            A number that changes whenever lanes are gained; None while there are none.
        """
        began_s = self._monotonic_s()
        safe_until_s = began_s + lease_us / 1_000_000 - SAFETY_SECONDS
        if await self._keep(owner, lease_us):
            self._held[owner] = msgspec.structs.replace(
                self._held[owner], safe_until_s=safe_until_s
            )
            return self._held[owner].epoch

        async def work(connection: Connection) -> _Held:
            await connection.execute(PAUSED)
            await connection.execute("SELECT pg_advisory_xact_lock($1)", REASSIGNING)
            now_us = await self._read_clock(connection)
            epoch = await connection.fetchval(_RENEW, owner, now_us + lease_us)
            if epoch is None:
                # Lanes held under a former row are no longer held.
                await connection.execute(_FREE, [owner])
                await connection.execute(_JOIN, owner, now_us + lease_us)
            others = await self._remove_dead(connection, owner, now_us)
            fair = -(-LANES // (1 + len(others)))
            epoch, lanes = await _share_out(connection, owner, epoch or 0, fair)
            return _Held(epoch, lanes, safe_until_s, tuple(sorted(others)))

        held = await self._database.write(work)
        if not held.lanes:
            self._held.pop(owner, None)
            return None
        self._held[owner] = held
        return held.epoch

    async def _keep(self, owner: str, lease_us: int) -> bool:
        """Renew the lease in one short statement; False if lanes may have to be reassigned.

        It needs no lock: the statement finds no row once another worker has removed this one.
        """
        held = self._held.get(owner)
        fair = 0 if held is None else -(-LANES // (1 + len(held.others)))
        if held is None or len(held.lanes) > fair or not all(map(self._is_alive, held.others)):
            return False

        async def work(connection: Connection) -> bool:
            now_us = await self._read_clock(connection)
            values = (owner, now_us + lease_us, held.epoch, list(held.others), now_us)
            return await connection.fetchval(_KEEP, *values) is not None

        return await self._database.write(work)

    async def _remove_dead(self, connection: Connection, owner: str, now_us: int) -> list[str]:
        """Free the lanes of dead workers; returns the others that are alive."""
        others = await connection.fetch(_OTHERS, owner)
        dead = [name for name, until in others if until <= now_us or not self._is_alive(name)]
        if dead:
            removed = await connection.fetch(_REMOVE_DEAD, dead)
            await connection.execute(_FREE, [row[0] for row in removed])
        return [name for name, _ in others if name not in dead]

    async def leave(self, connection: Connection, owner: str) -> int:
        """Give up all lanes of `owner` and the claims in them; returns the number of claims.

        Inside the caller's transaction; `forget` follows when that is committed.
        """
        await connection.execute("SELECT pg_advisory_xact_lock($1)", REASSIGNING)
        rows = await connection.fetch("SELECT lane FROM lanes WHERE owner = $1", owner)
        lanes = [row[0] for row in rows]
        given_back = rows_changed(await connection.execute(GIVE_BACK, lanes, owner)) if lanes else 0
        await connection.execute(_FREE, [owner])
        await connection.execute("DELETE FROM workers WHERE owner = $1", owner)
        return given_back

    def forget(self, owner: str) -> None:
        """Record that the owner holds nothing."""
        self._held.pop(owner, None)


async def _share_out(
    connection: Connection, owner: str, epoch: int, fair: int
) -> tuple[int, tuple[int, ...]]:
    rows = await connection.fetch(_LANES, owner)
    held = [lane for lane, held_by in rows if held_by == owner]
    free = [lane for lane, held_by in rows if held_by is None]
    if len(held) > fair:
        surplus, held = held[fair:], held[:fair]
        await connection.execute(GIVE_BACK, surplus, owner)
        await connection.execute(_HAND_BACK, owner, surplus)
    elif gained := free[: fair - len(held)]:
        await connection.execute(_TAKE, owner, gained)
        held += gained
        epoch = await connection.fetchval(_NEW_EPOCH, owner)
    return epoch, tuple(held)
