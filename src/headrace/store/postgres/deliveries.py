"""The queue of deliveries on PostgreSQL."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Protocol, TypeVar

from headrace.store.contract_delivery import (
    AttemptRecord,
    BreakerChange,
    ClaimedDelivery,
    LinePage,
    Recorded,
    Want,
)
from headrace.store.deliveries.deliveries import Deliveries
from headrace.store.deliveries.subscriber_rows import disable_gone
from headrace.store.engine.columns import columns_of
from headrace.store.engine.plans import BY_KEYS
from headrace.store.postgres import delivery_claims, delivery_outcomes
from headrace.store.postgres.database import Connection, Database
from headrace.store.postgres.delivery_claims import BreakerLostError, Claims, Wish
from headrace.store.postgres.due_lines import DueLines
from headrace.store.postgres.numbers import Numbers
from headrace.store.postgres.rollups import add_rollups
from headrace.store.postgres.transaction import PostgresDatabase, PostgresTransaction
from headrace.store.rows.rollups import attempted

T = TypeVar("T")

_BREAKERS = "SELECT id, breaker FROM subscribers WHERE id = ANY($1::text[])"


class HeldLanes(Protocol):
    """Which lanes are this process's now."""

    def mine(self) -> Sequence[int]: ...


class PostgresDeliveries(Deliveries):
    """Deliveries in this store.

    Deliveries of a lane are claimed by the worker that holds the lane. How many of a subscriber are
    on their way at a time is decided by each worker for itself.

    Args:
        clock_us: the clock of the store.
        lanes: what this process may claim; nothing while it holds none.
    """

    def __init__(
        self,
        database: Database,
        numbers: Numbers,
        clock_us: Callable[[], int],
        lanes: HeldLanes,
    ) -> None:
        super().__init__(PostgresDatabase(database), clock_us)
        self._connections = database
        self._numbers = numbers
        self._lanes = lanes
        self._due = DueLines()
        self._shed_after = ""
        #: Lanes whose former owners' claims were taken back; what is gained is not among them.
        self._rescued_lanes: frozenset[int] = frozenset()

    async def _write(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """One transaction whose statements name their rows by key."""

        async def by_keys(connection: Connection) -> T:
            await connection.execute(BY_KEYS.postgres)
            return await work(connection)

        return await self._connections.write(by_keys)

    async def lines(
        self,
        *,
        after: tuple[str, int] | None,
        handlers: Collection[str],
        limit: int,
        due_max: int,
    ) -> LinePage:
        now_us, lanes, book = self._clock_us(), self._lanes.mine(), self._due.book
        if not lanes:
            return LinePage([], None)

        async def read(connection: Connection) -> LinePage:
            await self._due.look(connection, lanes, now_us)
            places = book.after(after, limit)
            found = [(place, book.due(place, due_max)) for place in places]
            lines, gone = await delivery_claims.lines_of(connection, found, handlers)
            for place in gone:
                book.forget(place)
            return LinePage(lines, places[-1] if len(places) == limit else None)

        return await self._connections.read(read)

    async def claim(
        self, owner: str, wants: Sequence[Want], limit: int
    ) -> Sequence[ClaimedDelivery]:
        now_us, lanes = self._clock_us(), frozenset(self._lanes.mine())
        if not lanes or not wants:
            return []
        lines = [((want.subscriber_id, want.project_id), want.limit) for want in wants]

        async def refill(connection: Connection) -> None:
            await self._due.refill(connection, lanes, lines, now_us)

        if not all(self._due.book.suffices(*line) for line in lines):
            await self._connections.read(refill)
        wishes = self._wishes(wants, limit, lanes)
        try:
            claims = await self._claim(owner, wishes, now_us)
        except BaseException:
            self._put_back(wishes)
            raise
        self._put_back(claims.passed)
        return await self._complete(claims)

    def _wishes(self, wants: Sequence[Want], limit: int, lanes: frozenset[int]) -> list[Wish]:
        """What to claim for each, taken out of the book."""
        wishes: list[Wish] = []
        left = limit
        for want in wants:
            line = (want.subscriber_id, want.project_id)
            keys = self._due.book.take(line, min(want.limit, left), lanes)
            left -= len(keys)
            if keys:
                wishes.append((want, keys))
        return wishes

    def _put_back(self, wishes: Sequence[Wish]) -> None:
        for want, keys in wishes:
            self._due.book.add((want.subscriber_id, want.project_id), keys)

    async def _claim(self, owner: str, wishes: Sequence[Wish], now_us: int) -> Claims:
        passed: list[Wish] = []
        while wishes:
            going = wishes

            async def work(connection: Connection, going: Sequence[Wish] = going) -> Claims:
                return await delivery_claims.claim(connection, owner, going, now_us)

            try:
                claims = await self._write(work)
            except BreakerLostError as error:
                lost = error.args[0]
                passed += [wish for wish in wishes if wish[0].subscriber_id in lost]
                wishes = [wish for wish in wishes if wish[0].subscriber_id not in lost]
            else:
                return Claims(claims.rows, claims.events, passed + claims.passed)
        return Claims([], {}, passed)

    async def _complete(self, claims: Claims) -> Sequence[ClaimedDelivery]:
        """With their events; those whose event is gone go, too."""
        found = {key: claims.events.get((key[0], key[1].sequence)) for key in claims.rows}
        orphans = [(lane, row.number) for (lane, row), event in found.items() if event is None]
        if orphans:
            await self._drop(orphans)
        return [row.with_event(event) for (_, row), event in found.items() if event is not None]

    async def _drop(self, keys: Sequence[tuple[int, int]]) -> None:
        """Forget deliveries whose event is gone: there is nothing to deliver any more."""
        named = columns_of(sorted(keys), 2)

        async def work(connection: Connection) -> None:
            for statement in delivery_outcomes.DROP:
                await connection.execute(statement, *named)

        await self._write(work)

    async def record(
        self, owner: str, records: Sequence[AttemptRecord], breakers: Sequence[BreakerChange] = ()
    ) -> Recorded:
        now_us = self._clock_us()

        async def work(connection: Connection) -> Recorded:
            ours: frozenset[int] = frozenset()
            if records:
                ours = await delivery_outcomes.finish(
                    connection, self._numbers, owner, records, now_us
                )
                held = [record for record in records if record.claimed.number in ours]
                await disable_gone(PostgresTransaction(connection), held, now_us)
                # Another lane than the counters of processing have.
                lane = max(self._lanes.mine(), default=0)
                await add_rollups(connection, lane, attempted(held, now_us))
            lost = await delivery_claims.set_breakers(connection, breakers)
            # Of a subscriber that is gone there is no breaker to be changed again.
            changed = await connection.fetch(_BREAKERS, sorted(lost)) if lost else []
            return Recorded(ours, dict(changed))

        return await self._write(work)

    async def renew(self, owner: str, claims: Sequence[ClaimedDelivery]) -> frozenset[int]:
        now_us = self._clock_us()

        async def work(connection: Connection) -> frozenset[int]:
            return await delivery_claims.renew(connection, owner, claims, now_us)

        return await self._write(work)

    async def release(self, owner: str, claims: Sequence[ClaimedDelivery] | None = None) -> int:
        now_us = self._clock_us()

        async def work(connection: Connection) -> int:
            return await delivery_claims.give_back(connection, owner, claims, now_us)

        return await self._write(work)

    async def rescue(self, limit: int) -> Sequence[str]:
        now_us, lanes = self._clock_us(), self._lanes.mine()
        if not lanes:
            return []

        async def find(connection: Connection) -> Sequence[delivery_outcomes.Lost]:
            return await delivery_outcomes.find_lost(connection, lanes, limit, now_us)

        lost = await self._connections.read(find)
        taken: Sequence[str] = []
        if lost:

            async def work(connection: Connection) -> Sequence[str]:
                return await delivery_outcomes.take_back(
                    connection, self._numbers, lost, lanes, now_us
                )

            taken = await self._write(work)
        if len(lost) < limit:
            self._rescued_lanes = frozenset(lanes)
        return taken

    def rescue_due(self) -> bool:
        return not self._rescued_lanes.issuperset(self._lanes.mine())

    async def shed(self, limit: int) -> int:
        now_us, lanes = self._clock_us(), self._lanes.mine()
        if not lanes:
            return 0

        async def find(connection: Connection) -> tuple[list[tuple[str, bool]], str]:
            return await delivery_outcomes.find_unwanted(connection, self._shed_after, now_us)

        unwanted, after = await self._connections.read(find)
        shed = 0
        if unwanted:

            async def work(connection: Connection) -> int:
                return await delivery_outcomes.shed(
                    connection, self._numbers, unwanted, lanes, limit, now_us
                )

            shed = await self._write(work)
        if shed < limit:
            self._shed_after = after
        return shed
