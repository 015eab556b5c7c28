"""Partitions of events: made in time, searched alone, dropped as a whole."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from headrace.domain.events.event import FirstCopy, NewEvent, Status
from headrace.domain.events.identity import lane_of_key
from headrace.domain.ids import first_sequence_at
from headrace.domain.upkeep.retention import DAY_US
from headrace.store.contract.events import EventFilter
from headrace.store.contract.retention import Removed
from headrace.store.engine.postgres.database import Database, PoolOptions
from headrace.store.engine.postgres.migrate import _Steps
from headrace.store.engine.postgres.packing import pack_next
from headrace.store.engine.postgres.partitions import (
    BYTES_MEANT,
    TABLES,
    WIDTH_US_MAX,
    WIDTH_US_MIN,
    Partition,
    make_ahead,
    make_partition,
    partitions,
)
from headrace.store.events.event_lists import list_query
from headrace.store.migrations import migrations
from headrace.store.postgres import PostgresStore, open_store
from headrace.store.queues.postgres import accept, claims
from headrace.store.queues.postgres.keys import KeyMover
from headrace.store.queues.postgres.retention import PostgresRetention
from tests.support.events import START_US, new_event
from tests.support.places import PostgresPlace
from tests.support.postgres_plans import steps_of
from tests.support.retained import (
    add_dead_letter,
    add_delivery,
    add_everything,
    add_retry,
    add_work,
    counts,
    finished_event,
)
from tests.support.session import StoreSession

#: Years after the first partition ends.
BASE_US = START_US + 2000 * DAY_US
MINUTE_US = 60_000_000
#: Later than all partitions of a test.
OLD = {1: BASE_US + 100 * DAY_US, 2: BASE_US + 100 * DAY_US}
_numbers = itertools.count()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[PostgresPlace]:
    made = PostgresPlace(tmp_path)
    yield made
    made.remove()


@pytest.fixture
def session(place: PostgresPlace) -> Iterator[StoreSession]:
    opened = StoreSession(place)
    yield opened
    opened.close()


def at(minutes: float, **changes: Any) -> dict[str, Any]:
    """Fields of an event that was received so many minutes after `BASE_US`."""
    received_us = BASE_US + round(minutes * MINUTE_US)
    sequence = first_sequence_at(received_us) + next(_numbers)
    return {"sequence": sequence, "received_us": received_us, **changes}


def listed(place: PostgresPlace) -> list[Partition]:
    """The partitions after the first."""

    async def read() -> list[Partition]:
        connection = await asyncpg.connect(place.url)
        try:
            return await partitions(connection)
        finally:
            await connection.close()

    return [each for each in asyncio.run(read()) if not each.is_first]


def retention(session: StoreSession) -> PostgresRetention:
    found = session.store.retention
    assert isinstance(found, PostgresRetention)
    return found


def drop_due(session: StoreSession, before_us: dict[int, int] = OLD, steps: int = 1000) -> Removed:
    """Steps until nothing is left to do; the sum of all."""
    # What it knows of partitions is from before this.
    other = PostgresRetention(database_of(session))
    events, letters, rows = 0, 0, 0
    for _ in range(steps):
        removed = session.run(other.drop_due(before_us))
        events += removed.events
        letters += removed.dead_letters
        rows += removed.rows
        if removed.complete:
            return Removed(events, letters, rows)
    return Removed(events, letters, rows, complete=False)


def move_keys(session: StoreSession, place: PostgresPlace, level: str) -> None:
    """Move the keys to that level."""
    mover = KeyMover(database_of(session))
    while level == "sorted_keys" and session.run(mover.move_slice()):
        pass
    assert place.run_sql(f"SELECT count(*) > 0 FROM {level}") == [(True,)]


def database_of(session: StoreSession) -> Any:
    store = session.store
    assert isinstance(store, PostgresStore)
    return store._database


def parts_of(place: PostgresPlace, table: str) -> list[str]:
    return [
        row[0]
        for row in place.run_sql(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = to_regclass(?) "
            "ORDER BY 1",
            table,
        )
    ]


# Making


def test_partitions_are_made_before_they_are_needed(
    session: StoreSession, place: PostgresPlace
) -> None:
    assert listed(place) == []
    session.run(session.store.maintain())
    now = first_sequence_at(session.store.clock_us())
    ahead = first_sequence_at(session.store.clock_us() + MINUTE_US)
    found = listed(place)
    assert any(each.first <= now < each.end for each in found)
    assert any(each.first <= ahead < each.end for each in found)


def test_an_event_without_a_partition_makes_it(session: StoreSession, place: PostgresPlace) -> None:
    early, late = new_event(**at(0), key="a"), new_event(**at(600), key="b")
    assert session.accept(early, late) == [None, None]
    assert session.stored_ids() == [early.id, late.id]
    assert parts_of(place, "events") == [
        name.replace("event_states", "events") for name in parts_of(place, "event_states")
    ]
    assert session.accept(new_event(**at(601), key="b")) == [
        FirstCopy(late.id, late.event, late.occurred_us, mismatch=False)
    ]


def test_a_transaction_of_several_statements_makes_it(session: StoreSession) -> None:
    """Its first try was rolled back as a whole."""
    event = new_event(**at(0))

    async def write() -> None:
        async def work(connection: Any) -> None:
            await connection.execute("INSERT INTO meta (name, value) VALUES ('tried', '')")
            columns = accept._event_columns([event])
            await connection.execute(accept.INSERT_EVENTS, *columns)

        await database_of(session).write(work)

    session.run(write())
    assert session.stored_ids() == [event.id]


def test_processes_that_need_a_partition_make_it_once(place: PostgresPlace) -> None:
    sequence = first_sequence_at(BASE_US)

    async def make() -> None:
        connections = [await asyncpg.connect(place.url) for _ in range(8)]
        try:
            await asyncio.gather(*(make_partition(each, sequence) for each in connections))
        finally:
            for each in connections:
                await each.close()

    asyncio.run(make())
    assert len(listed(place)) == 1


def test_making_one_does_not_wait_for_transactions_that_insert(
    session: StoreSession, place: PostgresPlace
) -> None:
    session.accept(new_event(**at(0)))

    async def make() -> None:
        inserting = await asyncpg.connect(place.url)
        other = await asyncpg.connect(place.url)
        try:
            async with inserting.transaction():
                await inserting.execute("UPDATE events SET payload = '{}'")
                await inserting.execute("UPDATE event_states SET attempts = 1")
                async with asyncio.timeout(20):
                    await make_partition(other, first_sequence_at(BASE_US + DAY_US))
        finally:
            await inserting.close()
            await other.close()

    asyncio.run(make())
    assert len(listed(place)) == 2


def test_a_clock_that_was_ahead_leaves_the_time_between_to_be_divided(
    session: StoreSession, place: PostgresPlace
) -> None:
    session.accept(new_event(**at(100_000)))
    session.accept(new_event(**at(0)))
    session.accept(new_event(**at(5)))
    found = listed(place)
    assert len(found) == 3
    assert [each.end - each.first < first_sequence_at(DAY_US) for each in found] == [True] * 3
    assert found[0].end == found[1].first


def test_lengths_grow_while_little_is_stored(place: PostgresPlace) -> None:
    async def make() -> None:
        connection = await asyncpg.connect(place.url)
        try:
            now_us = BASE_US
            for _ in range(12):
                await make_ahead(connection, now_us)
                now_us = (await partitions(connection))[-1].end // first_sequence_at(1000) * 1000
        finally:
            await connection.close()

    asyncio.run(make())
    lengths = [(each.end - each.first) // first_sequence_at(1000) * 1000 for each in listed(place)]
    assert lengths[0] <= 3 * WIDTH_US_MIN
    assert lengths == sorted(lengths)
    assert WIDTH_US_MAX <= lengths[-1] <= WIDTH_US_MAX + 2 * MINUTE_US
    assert BYTES_MEANT > 0


# Packing


def unpacked(place: PostgresPlace) -> set[str]:
    """Partitions with an index that is not rebuilt."""
    return {
        row[0]
        for row in place.run_sql(
            "SELECT i.indrelid::regclass::text FROM pg_index i JOIN pg_class c "
            "ON c.oid = i.indrelid WHERE c.relispartition AND c.relkind = 'r' AND "
            "(NOT i.indisvalid OR obj_description(i.indexrelid) IS DISTINCT FROM 'packed')"
        )
    }


def files_of_indexes(place: PostgresPlace) -> set[tuple[Any, ...]]:
    return set(
        place.run_sql(
            "SELECT c.oid, c.relfilenode FROM pg_class c WHERE c.relkind = 'i' AND c.relispartition"
        )
    )


def test_indexes_of_complete_partitions_are_rebuilt_once(
    session: StoreSession, place: PostgresPlace
) -> None:
    events = [finished_event(session, **at(minutes, key=f"k{minutes}")) for minutes in (0, 99, 400)]
    late = finished_event(session, **at(2000, key="k"))
    found = listed(place)
    assert len(found) == 4
    drop_due(session, {1: BASE_US})
    kept = {each.table(parent) for each in found[-3:] for parent in TABLES}
    assert unpacked(place) == kept | {"events_0", "event_states_0"}
    files = files_of_indexes(place)
    drop_due(session, {1: BASE_US})
    assert files_of_indexes(place) == files
    assert session.stored_ids() == [*(event.id for event in events), late.id]
    found_event = session.run(session.store.events.get_by_key(1, "k0"))
    assert found_event is not None


def test_an_interrupted_rebuild_is_done_again(session: StoreSession, place: PostgresPlace) -> None:
    """A transaction that has begun before holds it up; it is ended while it waits."""
    for minutes in (0, 99, 400, 2000):
        finished_event(session, **at(minutes))
    table = listed(place)[0].table("events")

    async def interrupt() -> None:
        reading, packing = await asyncpg.connect(place.url), await asyncpg.connect(place.url)
        try:
            async with reading.transaction(isolation="repeatable_read"):
                await reading.execute(f"SELECT count(*) FROM {table}")
                await packing.execute("SET statement_timeout = '100ms'")
                with pytest.raises(asyncpg.QueryCanceledError):
                    await pack_next(packing)
        finally:
            await reading.close()
            await packing.close()

    asyncio.run(interrupt())
    invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
    assert place.run_sql(invalid) == [(1,)]
    drop_due(session, {1: BASE_US})
    assert place.run_sql(invalid) == [(0,)]
    assert table not in unpacked(place)
    # It is dropped like any other.
    assert drop_due(session).events == 4


# Searching


def test_statements_of_the_event_path_read_one_partition(
    session: StoreSession, place: PostgresPlace
) -> None:
    events = [new_event(**at(minutes)) for minutes in range(0, 1200, 100)]
    session.accept(*events)
    parts = parts_of(place, "events")
    assert len(parts) > 4
    for statement in (claims.READ, accept.FIND_FIRST):
        values = f"'{{{events[5].lane}}}', '{{{events[5].sequence}}}'"
        scanned = _scanned(place, statement, values)
        assert len({name for name in scanned if name.startswith("events_")}) == 1, statement


def test_a_page_reads_no_more_partitions_than_it_needs(
    session: StoreSession, place: PostgresPlace
) -> None:
    session.accept(*(new_event(**at(minutes)) for minutes in range(0, 1200, 20)))
    query = list_query(1, EventFilter(event="order.completed"), None)
    page = query.page(3, None).postgres
    scanned = _scanned(place, page, "1, 'order.completed'")
    assert len({name for name in scanned if name.startswith("events_")}) <= 2


def _scanned(place: PostgresPlace, statement: str, values: str) -> set[str]:
    """Tables from which a statement has read, with a plan for any values."""

    async def ask() -> str:
        connection = await asyncpg.connect(place.url)
        try:
            await connection.execute(
                "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; "
                f"SET enable_sort = off; SET enable_hashjoin = off; PREPARE asked AS {statement}"
            )
            sql = f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE asked ({values})"
            return str(await connection.fetchval(sql))
        finally:
            await connection.close()

    steps = steps_of(json.loads(asyncio.run(ask()))[0]["Plan"])
    return {step["Table"] for step in steps if step.get("Actual Loops") and "Table" in step}


# Dropping


def test_a_partition_in_which_everything_is_due_is_dropped(
    session: StoreSession, place: PostgresPlace
) -> None:
    old = [finished_event(session, **at(0, key=f"k{n}")) for n in range(3)]
    old.append(finished_event(session, **at(0), status=Status.DEAD_LETTERED))
    for event in old:
        add_everything(place, event)
    young = finished_event(session, **at(60 * 24, key="young"))
    add_everything(place, young)
    removed = drop_due(session, {1: BASE_US + DAY_US // 2})
    assert (removed.events, removed.dead_letters) == (4, 4)
    assert session.stored_ids() == [young.id]
    assert len(listed(place)) == 1
    # All that belonged to the young event, and nothing else.
    assert counts(place) == {
        "events": 1,
        "event_states": 1,
        "recent_keys": 1,
        "duplicate_requests": 1,
        "processing_attempts": 1,
        "contact_conflicts": 1,
        "deliveries": 2,
        "delivery_attempts": 3,
        "dead_letters": 1,
    }
    assert place.run_sql("SELECT * FROM dropped_ranges") == []
    # It is used afterwards as before.
    again = new_event(**at(0.1))
    assert session.accept(again) == [None]


KEEPERS: dict[str, Callable[[PostgresPlace, NewEvent], object]] = {
    "event_queue": add_work,
    "retry": add_retry,
    "pending": lambda place, event: add_delivery(place, event, 0),
    "delivering": lambda place, event: add_delivery(place, event, 1),
    "retrying": lambda place, event: add_delivery(place, event, 2),
    "open": lambda place, event: add_dead_letter(place, event, 0),
}


@pytest.mark.parametrize("keeper", KEEPERS)
def test_a_partition_with_an_unfinished_event_stays(
    session: StoreSession, place: PostgresPlace, keeper: str
) -> None:
    finished_event(session, **at(0))
    KEEPERS[keeper](place, finished_event(session, **at(0)))
    assert drop_due(session) == Removed()
    assert counts(place)["events"] == 2


@pytest.mark.parametrize("status", [Status.ACCEPTED, Status.RETRYING])
def test_a_partition_with_an_event_in_no_final_state_stays(
    session: StoreSession, place: PostgresPlace, status: Status
) -> None:
    finished_event(session, **at(0))
    finished_event(session, **at(0), status=status)
    assert drop_due(session) == Removed()
    assert counts(place)["events"] == 2


def test_a_long_retention_keeps_only_its_own_events(
    session: StoreSession, place: PostgresPlace
) -> None:
    short = [finished_event(session, **at(0), project_id=1) for _ in range(3)]
    long = finished_event(session, **at(0), project_id=2)
    cutoffs = {1: BASE_US + DAY_US, 2: BASE_US - DAY_US}
    assert drop_due(session, cutoffs) == Removed()
    page = session.run(retention(session).find_due(1, cutoffs[1], OLD[1], 0, 100))
    assert [event.sequence for event in page.due] == [event.sequence for event in short]
    session.run(retention(session).remove_events(1, page.due))
    assert session.stored_ids() == [long.id]
    # When that is due as well, the partition goes.
    assert drop_due(session).events == 1
    assert counts(place)["events"] == 0


def test_a_project_that_is_gone_keeps_its_events(session: StoreSession) -> None:
    kept = finished_event(session, **at(0), project_id=7)
    assert drop_due(session) == Removed()
    assert session.stored_ids() == [kept.id]


def test_rows_of_a_partition_that_is_due_only_in_part_are_left_to_its_drop(
    session: StoreSession, place: PostgresPlace
) -> None:
    finished_event(session, **at(0))
    finished_event(session, **at(0.5))
    assert len(listed(place)) == 1
    between = BASE_US + MINUTE_US // 4
    assert session.run(retention(session).find_due(1, between, OLD[1], 0, 100)).due == []
    assert drop_due(session, {1: between}) == Removed()
    assert counts(place)["events"] == 2


def test_the_first_partition_is_emptied(session: StoreSession, place: PostgresPlace) -> None:
    event = finished_event(session, key="k")
    add_everything(place, event)
    young = finished_event(session, **at(0))
    end_us = session.store.clock_us() + DAY_US
    assert drop_due(session, {1: end_us}).events == 1
    assert session.stored_ids() == [young.id]
    assert place.run_sql("SELECT count(*) FROM recent_keys") == [(0,)]
    # What is as old still finds its place, such as a copy of another store.
    older = new_event(key="k")
    assert session.accept(older) == [None]
    assert session.stored_ids() == [older.id, young.id]


@pytest.mark.parametrize("level", ["recent_keys", "sorted_keys"])
def test_a_key_counts_exactly_as_long_as_its_event_is_there(
    session: StoreSession, place: PostgresPlace, level: str
) -> None:
    first = finished_event(session, **at(0, key="k"))
    move_keys(session, place, level)
    copy = FirstCopy(first.id, first.event, first.occurred_us, mismatch=False)
    # Recorded; detached and dropped; what belonged to it; its key.
    outcomes = []
    other = PostgresRetention(database_of(session))
    for step in range(6):
        outcomes.append(session.accept(new_event(**at(60 * 24 + step, key="k"))))
        session.run(other.drop_due({1: BASE_US + DAY_US // 2}))
    assert outcomes[:2] == [[copy], [copy]]
    assert outcomes[2] == [None]
    second = outcomes[3][0]
    assert isinstance(second, FirstCopy)
    assert second.id != first.id
    assert outcomes[3:] == [[second]] * 3
    assert len(session.stored_ids()) == 1


def test_two_copies_of_a_freed_key_in_one_batch_are_one_event(session: StoreSession) -> None:
    finished_event(session, **at(0, key="k"))
    drop_due(session, {1: BASE_US + DAY_US // 2}, steps=2)
    one, two = new_event(**at(60 * 24, key="k")), new_event(**at(60 * 24, key="k"))
    copy = FirstCopy(one.id, one.event, one.occurred_us, mismatch=False)
    assert session.accept(one, two) == [None, copy]
    assert session.stored_ids() == [one.id]


@pytest.mark.parametrize("level", ["recent_keys", "sorted_keys"])
@pytest.mark.parametrize("steps", range(1, 6))
def test_an_interrupted_drop_goes_on(
    session: StoreSession, place: PostgresPlace, steps: int, level: str
) -> None:
    event = finished_event(session, **at(0, key="k"))
    add_everything(place, event)
    move_keys(session, place, level)
    drop_due(session, steps=steps)
    drop_due(session)
    assert set(counts(place).values()) == {0}
    assert place.run_sql("SELECT count(*) FROM sorted_keys") == [(0,)]
    assert listed(place) == []
    assert place.run_sql("SELECT * FROM dropped_ranges") == []


@pytest.mark.parametrize("undone", ["events", "event_states"])
def test_a_drop_goes_on_when_one_table_is_detached(
    session: StoreSession, place: PostgresPlace, undone: str
) -> None:
    finished_event(session, **at(0))
    drop_due(session, steps=1)
    (part,) = [name for name in parts_of(place, undone) if not name.endswith("_0")]
    place.run_sql(f"ALTER TABLE {undone} DETACH PARTITION {part} CONCURRENTLY")
    drop_due(session)
    assert listed(place) == []
    assert place.run_sql("SELECT to_regclass(?) IS NULL", part) == [(True,)]


def test_a_reader_delays_only_the_drop(session: StoreSession, place: PostgresPlace) -> None:
    """A detach waits for the transactions that may read the partition; nobody waits for it."""
    finished_event(session, **at(0))
    young = new_event(**at(60 * 24))
    session.accept(young)
    other = PostgresRetention(database_of(session))
    cutoffs = {1: BASE_US + DAY_US // 2}

    async def scenario() -> None:
        reader = await asyncpg.connect(place.url)
        try:
            async with asyncio.timeout(60), reader.transaction():
                await reader.fetch("SELECT * FROM events")
                await other.drop_due(cutoffs)
                dropping = asyncio.create_task(other.drop_due(cutoffs))
                while not await reader.fetch("SELECT 1 FROM pg_inherits WHERE inhdetachpending"):
                    assert not dropping.done()
                assert await session.accepted(new_event(**at(60 * 24))) == [None]
                page = await session.store.events.list(1, EventFilter(), before=None, limit=10)
                assert len(page.events) == 2
            assert not (await dropping).complete
        finally:
            await reader.close()

    session.run(scenario())
    drop_due(session, cutoffs)
    assert len(session.stored_ids()) == 2


def test_events_are_accepted_while_partitions_are_dropped(session: StoreSession) -> None:
    for minutes in range(0, 30, 3):
        finished_event(session, **at(minutes, key=f"old{minutes}"))
    other = PostgresRetention(database_of(session))
    cutoffs = {1: BASE_US + DAY_US // 2}
    accepted: list[NewEvent] = []

    async def accepting(done: asyncio.Event) -> None:
        while not done.is_set():
            event = new_event(**at(60 * 24 + len(accepted) / 100, key=f"new{len(accepted)}"))
            assert await session.accepted(event) == [None]
            accepted.append(event)

    async def scenario() -> None:
        done = asyncio.Event()
        task = asyncio.create_task(accepting(done))
        while not (await other.drop_due(cutoffs)).complete:
            pass
        done.set()
        await task

    session.run(scenario())
    assert accepted
    assert session.stored_ids() == [event.id for event in accepted]


# Migrating


def test_a_store_from_before_is_migrated_without_being_rewritten(place: PostgresPlace) -> None:
    """Its tables become the first partition, with the files that they have."""
    events = [new_event(key=f"k{n}") for n in range(20)]
    _fill_before(place, events)
    files = place.run_sql(
        "SELECT pg_relation_filenode('events'), pg_relation_filenode('events_name')"
    )

    async def scenario() -> None:
        store = await open_store(place.url, PoolOptions(), migrated=True)
        await store.close()

    asyncio.run(scenario())
    names = "pg_relation_filenode('events_0'), pg_relation_filenode('events_0_name')"
    assert place.run_sql(f"SELECT {names}") == files
    assert parts_of(place, "events") == ["events_0"]
    session = StoreSession(place)
    assert session.stored_ids() == [event.id for event in events]
    first = events[0]
    copy = FirstCopy(first.id, first.event, first.occurred_us, mismatch=False)
    assert session.accept(new_event(**at(0, key="k0"))) == [copy]
    assert session.accept(new_event(**at(0, key="k20"))) == [None]
    found = session.run(session.store.events.get_by_key(1, "k3"))
    assert found is not None
    assert (found.id, found.status) == (events[3].id, Status.PROCESSED)
    session.close()


def _fill_before(place: PostgresPlace, events: list[NewEvent]) -> None:
    """Give a place an older store, from before partitions, with these events, processed."""
    place.remove()
    place.database = place.server.new_database(migrated=False)
    place.url = place.server.url(place.database)
    steps = [step for step in migrations("postgres") if step.number < 14]
    keyed = [(event.idempotency_hash, event) for event in events if event.idempotency_hash]

    async def fill() -> None:
        database = Database(place.url, PoolOptions())
        await database.connect()
        await database.write(_Steps(steps))

        async def insert(connection: Any) -> None:
            await connection.execute(accept.INSERT_EVENTS, *accept._event_columns(events))
            await connection.executemany(
                "INSERT INTO idempotency_keys VALUES ($1, $2, $3, $4)",
                [(lane_of_key(key), key, event.lane, event.sequence) for key, event in keyed],
            )
            await connection.execute(
                "INSERT INTO event_states (lane, sequence, project_id, status, attempts) "
                f"SELECT lane, sequence, project_id, {Status.PROCESSED:d}, 0 FROM events"
            )

        await database.write(insert)
        await database.close()

    asyncio.run(fill())
