"""The queue of accepted events under test: owners, a clock, and reads of its tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from headrace.domain.events.event import NewEvent, Status
from headrace.store.contract.processing import (
    BatchPlan,
    Claimed,
    Done,
    FindContact,
    Planner,
    ProcessingFailure,
    ProcessingStore,
    WorkStats,
)
from headrace.store.engine.postgres.database import Connection
from headrace.store.engine.transaction import Transaction
from headrace.store.postgres import PostgresStore
from headrace.store.queues.postgres.lanes import Lanes
from headrace.store.queues.postgres.processing import PostgresProcessing
from headrace.store.queues.sqlite.processing import SqliteProcessing
from headrace.store.sqlite import SqliteStore
from headrace.store.store import Store
from headrace.store.upkeep.leadership import Leadership
from tests.support.events import START_US, new_event
from tests.support.session import StoreSession

SECOND_US = 1_000_000
LEADERSHIP_US = 15 * SECOND_US

Row = tuple[Any, ...]


def mark_only(batch: Sequence[Claimed], find: FindContact) -> BatchPlan:
    """A planner that finds no contact for any event."""
    del find
    return BatchPlan(
        done=[Done(c.sequence, c.project_id, c.attempt, None, "{}", c.lane) for c in batch]
    )


class Clock:
    """A store's clock that the test advances."""

    def __init__(self) -> None:
        self.now_us = START_US + SECOND_US

    def __call__(self) -> int:
        return self.now_us

    def forward(self, seconds: float) -> None:
        self.now_us += round(seconds * SECOND_US)


def processing_of(store: Store, clock: Clock, dead: set[str]) -> ProcessingStore:
    """A store's queue with another clock, in which the owners in `dead` no longer run."""
    if isinstance(store, SqliteStore):
        return SqliteProcessing(store._writer, store._readers, clock, lambda o: o not in dead)
    assert isinstance(store, PostgresStore)
    return postgres_processing(store, clock, dead)


def postgres_processing(
    store: PostgresStore,
    clock: Callable[[], int],
    dead: set[str],
    monotonic_s: Callable[[], float] = lambda: 0.0,
) -> PostgresProcessing:
    """The same for several processes on one database, each with its own lanes."""

    async def read_clock(place: Connection | Transaction) -> int:
        del place
        return clock()

    def is_alive(owner: str) -> bool:
        return owner not in dead

    database = store._database
    lanes = Lanes(database, read_clock=read_clock, is_alive=is_alive, monotonic_s=monotonic_s)
    leadership = Leadership(read_clock, is_alive)
    return PostgresProcessing(database, store._numbers, lanes, leadership, clock, monotonic_s)


class Queue:
    """A queue for workers named by letters; `a` holds leadership from the start."""

    def __init__(self, session: StoreSession, *, first_owner: str | None = "a") -> None:
        self.session = session
        self.clock = Clock()
        #: Owners whose process has ended.
        self.dead: set[str] = set()
        self.store = processing_of(session.store, self.clock, self.dead)
        if first_owner is not None:
            assert self.acquire_leadership(first_owner) == 1

    def accept(self, *events: NewEvent) -> list[int]:
        """Accept events; their sequences."""
        assert self.session.accept(*events) == [None] * len(events)
        return [event.sequence for event in events]

    def accept_many(self, count: int, *, project_id: int = 1) -> list[int]:
        return self.accept(*(new_event(project_id=project_id) for _ in range(count)))

    async def accept_meanwhile(self, count: int) -> None:
        """Accept some while something else runs on the loop."""
        outcomes = await self.session.accepted(*(new_event() for _ in range(count)))
        assert outcomes == [None] * count

    def acquire_leadership(self, owner: str, lease_us: int = LEADERSHIP_US) -> int | None:
        return self.session.run(self.store.acquire_leadership("processing", owner, lease_us))

    def claim(self, owner: str = "a", limit: int = 256) -> Sequence[Claimed]:
        return self.session.run(self.store.claim(owner, limit))

    def process(
        self,
        batch: Sequence[Claimed],
        plan: Planner = mark_only,
        *,
        owner: str = "a",
        claim_next: int = 0,
        subscribers_version: int = 0,
    ) -> tuple[int, Sequence[Claimed]]:
        return self.session.run(
            self.store.process(
                owner, batch, plan, claim_next, subscribers_version=subscribers_version
            )
        )

    def fail(
        self,
        claimed: Claimed,
        *,
        owner: str = "a",
        retry_in_s: float | None = None,
        cause: str = "ValueError",
        error: str = "it would not go",
    ) -> bool:
        """Fail with a retry, or for good."""
        retry_at_us = None if retry_in_s is None else self.clock() + round(retry_in_s * SECOND_US)
        failure = ProcessingFailure(cause, error, 1500, retry_at_us)
        return self.session.run(self.store.fail(owner, claimed, failure))

    def rescue(self, owner: str = "a", limit: int = 1000) -> int:
        return self.session.run(self.store.rescue(owner, limit))

    def release(self, owner: str = "a") -> int:
        return self.session.run(self.store.release(owner))

    def stats(self) -> WorkStats:
        return self.session.run(self.store.stats())

    def die_and_follow(self, dying: str, following: str) -> int:
        """Let a worker die with its claims and another take over; returns what was rescued."""
        self.dead.add(dying)
        assert self.acquire_leadership(following) is not None
        return self.rescue(following)

    def drain(self, owner: str = "a", plan: Planner = mark_only) -> list[int]:
        """Process what is due; returns the sequences in the order of processing."""
        done: list[int] = []
        while batch := self.claim(owner):
            assert self.process(batch, plan, owner=owner)[0] == len(batch)
            done += sequences(batch)
        return done

    def sql(self, sql: str, *values: Any) -> list[Row]:
        """Query the database directly: sees only committed data."""
        return list(self.session.place.run_sql(sql, *values))

    def status(self, sequence: int) -> Status:
        """Stored status: an event that is being processed is still `accepted`."""
        found = self.marks("status", sequence)
        return Status(found[0][0]) if found else Status.ACCEPTED

    def marks(self, columns: str, *sequences: int) -> list[Row]:
        """Recorded status of customer events, all or some, in order of receipt."""
        if isinstance(self.session.store, SqliteStore):
            columns = columns.replace("contact_id", "resolved_contact_id")
            rows = f"(SELECT {columns}, sequence AS place, source FROM events) e"
        else:
            rows = (
                f"(SELECT {columns}, o.sequence AS place, source FROM event_states o "
                "JOIN (SELECT sequence, source FROM events) e ON e.sequence = o.sequence) e"
            )
        wanted = f"place IN ({','.join(map(str, sequences))})" if sequences else "source <> 3"
        found = self.sql(f"SELECT * FROM {rows} WHERE {wanted} ORDER BY place")
        return [row[:-2] for row in found]

    def attempts(self, sequence: int) -> list[Row]:
        """`(number, at_us, duration_us, cause, error)` of every recorded failure."""
        sql = (
            "SELECT number, at_us, duration_us, cause, error FROM processing_attempts "
            "WHERE sequence = ? ORDER BY number"
        )
        return self.sql(sql, sequence)

    def everything(self) -> dict[str, list[Row]]:
        """All rows that processing may change."""
        tables = (
            *("events", "event_queue", "event_retries", "processing_attempts", "contacts"),
            *("contact_conflicts", "deliveries", "dead_letters"),
            *(() if isinstance(self.session.store, SqliteStore) else ("event_states",)),
        )
        return {name: self.sql(f"SELECT * FROM {name} ORDER BY 1, 2") for name in tables}


def sequences(batch: Sequence[Claimed]) -> list[int]:
    return [claimed.sequence for claimed in batch]
