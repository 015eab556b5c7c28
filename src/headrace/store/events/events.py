"""Reading events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from headrace.domain.events.event import FirstCopy, StoredEvent
from headrace.domain.events.identity import idempotency_hash, lane_of_key
from headrace.domain.ids import lane_of_id, sequence_of_id
from headrace.store.contacts.identifiers import ids_of
from headrace.store.contacts.refs import find_ref
from headrace.store.contract.events import (
    REPEATS_KEPT,
    UNINDEXED_COUNTED_MAX,
    EventFilter,
    EventPage,
    KeyRepeat,
)
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import Statement, sql, without_lane
from headrace.store.engine.numbers import BIGINT_MAX
from headrace.store.engine.transaction import Database, Transaction
from headrace.store.events.event_lists import (
    QUEUE_LENGTH,
    ROWS_EXAMINED_MAX,
    ListQuery,
    asks_for_queue,
    contact_queries,
    list_query,
)
from headrace.store.events.parts import (
    KEYS_SORTED_TO,
    from_parts,
    newest_first,
    oldest_first,
    part_of,
    unindexed,
)
from headrace.store.events.stored_events import SHOWN_COLUMNS, shown_event

GET = sql(
    f"SELECT {SHOWN_COLUMNS} FROM stored_events e "
    "WHERE e.lane = $1 AND e.sequence = $2 AND e.id = $3 AND e.project_id = $4"
)
# Read separately from the event, whose lane differs: on a cluster that is another node.
FIND_KEY = sql(
    "SELECT event_lane, event_sequence FROM recent_keys WHERE hash = $1 AND lane = $2 UNION ALL "
    "SELECT event_lane, event_sequence FROM sorted_keys WHERE hash = $1 AND lane = $2 LIMIT 1",
    # On SQLite, for a process that does not accept: the newest keys are in the events only.
    sqlite="SELECT e.lane, e.sequence FROM (SELECT sequence FROM sorted_keys WHERE hash = ?1 "
    f"UNION ALL SELECT sequence FROM events WHERE sequence > {KEYS_SORTED_TO} "
    "AND idempotency_hash = ?1) k CROSS JOIN events e ON e.sequence = k.sequence LIMIT 1",
)
GET_OF_KEY = sql(
    f"SELECT {SHOWN_COLUMNS} FROM stored_events e "
    "WHERE e.lane = $1 AND e.sequence = $2 AND e.project_id = $3 AND e.idempotency_key = $4"
)
FIRST_COPIES = sql(
    "SELECT e.id, e.event, e.occurred_us "
    "FROM unnest($1::smallint[], $2::bigint[]) AS k (lane, sequence) "
    "JOIN events AS e ON e.lane = k.lane AND e.sequence = k.sequence WHERE e.project_id = $3"
)
OF_IDS = sql(
    f"SELECT {SHOWN_COLUMNS} FROM unnest($1::smallint[], $2::bigint[]) AS k (lane, sequence) "
    "JOIN stored_events AS e ON e.lane = k.lane AND e.sequence = k.sequence "
    "WHERE e.project_id = $3"
)
AFTER = sql(
    f"SELECT {SHOWN_COLUMNS} FROM stored_events e "
    "WHERE e.project_id = $1 AND e.sequence > $2 ORDER BY e.sequence LIMIT $3",
    sqlite=f"SELECT {SHOWN_COLUMNS} FROM {from_parts('stored_events', 'e')} "
    f"WHERE p.part >= {part_of('?2')} AND e.project_id = ?1 AND e.sequence > ?2 "
    "ORDER BY p.part, e.sequence LIMIT ?3",
)
AFTER_REST = unindexed(SHOWN_COLUMNS, "AND q.sequence > $2", "LIMIT $3")
# Of one contact; run for each contact merged with it, since an index orders each separately.
OF_CONTACT = sql(
    f"SELECT {SHOWN_COLUMNS} FROM event_states o "
    "JOIN stored_events e ON e.lane = o.lane AND e.sequence = o.sequence "
    "WHERE o.project_id = $1 AND o.contact_id = $2 AND o.contact_id IS NOT NULL "
    "AND o.sequence < $3 ORDER BY o.sequence DESC LIMIT $4",
    # SQLite keeps the state of an event in the event's own row.
    sqlite=f"SELECT {SHOWN_COLUMNS} FROM {from_parts('stored_events', 'e')} "
    f"WHERE p.part <= {part_of('?3')} AND e.project_id = ?1 AND e.resolved_contact_id = ?2 "
    "AND e.resolved_contact_id IS NOT NULL AND e.sequence < ?3 "
    "ORDER BY p.part DESC, e.sequence DESC LIMIT ?4",
)
COUNT_QUEUE = sql(
    "SELECT count(*) FROM (SELECT 1 FROM event_queue WHERE project_id = $1 "
    f"LIMIT {UNINDEXED_COUNTED_MAX}) n"
)
REPEATS = without_lane(
    "SELECT at_us, api_key_id, request_id, mismatch FROM duplicate_requests "
    f"WHERE lane = $2 AND sequence = $1 ORDER BY number LIMIT {REPEATS_KEPT}"
)
# PostgreSQL scans the index project by project: sequences alone have no index there, since every
# unique key starts with the lane.
NEXT_PROJECT = sql(
    "SELECT project_id FROM events WHERE project_id > $1 ORDER BY project_id LIMIT 1", sqlite=""
)
LAST_OF_PROJECT = sql(
    "SELECT max(sequence) FROM events WHERE project_id = $1",
    # Of all projects at once.
    sqlite="SELECT max(sequence) FROM events WHERE ?1 IS NOT NULL",
)


#: Finds lane and sequence of the event with a key, by its hash.
FindKey = Callable[[bytes], Awaitable[Sequence[Any] | None]]


class Events:
    """Events of all projects, for reading; the committer writes them."""

    def __init__(self, database: Database, find_key: FindKey | None = None) -> None:
        self._database = database
        self._find_key = find_key or self._find_stored_key

    async def last_sequence(self) -> int:
        """The highest sequence stored, 0 in an empty store."""
        return await self._database.read(last_sequence)

    async def get(self, project_id: int, event_id: bytes) -> StoredEvent | None:
        """One event, None when the project has no such event."""
        return await self._database.read(lambda tx: find_event(tx, project_id, event_id))

    async def get_all(self, project_id: int, event_ids: Sequence[bytes]) -> Sequence[StoredEvent]:
        """Those of some events that the project has, in any order."""
        places = sorted((lane_of_id(each), sequence_of_id(each)) for each in event_ids)
        rows = await self._database.read(
            lambda tx: tx.rows(OF_IDS, *columns_of(places, 2), project_id)
        )
        return [shown_event(row) for row in rows]

    async def get_by_key(self, project_id: int, idempotency_key: str) -> StoredEvent | None:
        """The event stored under an idempotency key."""
        hashed = idempotency_hash(project_id, idempotency_key)

        place = await self._find_key(hashed)
        if place is None:
            return None
        wanted = (*place, project_id, idempotency_key)
        return await self._database.read(lambda tx: _one(tx, GET_OF_KEY, *wanted))

    async def first_copies(
        self, project_id: int, event_ids: Sequence[bytes]
    ) -> dict[bytes, FirstCopy]:
        """Those of some events that the project has, by id: what a repeat of them is answered."""
        places = sorted({(lane_of_id(each), sequence_of_id(each)) for each in event_ids})
        rows = await self._database.read(
            lambda tx: tx.rows(FIRST_COPIES, *columns_of(places, 2), project_id)
        )
        # An id of another product has some lane and sequence as well.
        wanted = {*event_ids}
        return {
            row[0]: FirstCopy(row[0], row[1], row[2], mismatch=False)
            for row in rows
            if row[0] in wanted
        }

    async def _find_stored_key(self, hashed: bytes) -> Sequence[Any] | None:
        return await self._database.read(lambda tx: tx.row(FIND_KEY, hashed, lane_of_key(hashed)))

    async def list(
        self, project_id: int, wanted: EventFilter, *, before: int | None, limit: int
    ) -> EventPage:
        """Events of a project, newest first, below sequence `before`.

        Those of a contact are the ones that were resolved to it or to one that was merged into it.
        Events sent with its id and resolved to no contact, or not yet, are included.
        """

        async def read(tx: Transaction) -> EventPage:
            if wanted.contact_id is not None:
                return await _page_of_contact(tx, project_id, wanted, before, limit)
            short_queue = False
            if asks_for_queue(wanted):
                short_queue = await tx.value(QUEUE_LENGTH, project_id) <= ROWS_EXAMINED_MAX
            query = list_query(project_id, wanted, before, short_queue=short_queue)
            found = await _walked(tx, query, limit)
            events, more = found.events, len(found.events) > limit
            return EventPage(
                events[:limit],
                events[limit - 1].sequence if more else found.bound,
                await _count_unindexed(tx, project_id) if found.ends_unindexed else None,
            )

        return await self._database.read(read)

    async def of_contact(
        self, project_id: int, contact_id: str, *, before: int | None, limit: int
    ) -> EventPage | None:
        """Events resolved to a contact or to one that was merged into it, newest first.

        None when the project has no such contact.
        """
        place = BIGINT_MAX if before is None else before

        async def read(tx: Transaction) -> EventPage | None:
            contact = await find_ref(tx, project_id, contact_id)
            if contact is None:
                return None
            events: list[StoredEvent] = []
            for each in await ids_of(tx, contact.id):
                rows = await tx.rows(OF_CONTACT, project_id, each, place, limit + 1)
                events += map(shown_event, rows)
            events.sort(key=lambda event: -event.sequence)
            more = len(events) > limit
            return EventPage(events[:limit], events[limit - 1].sequence if more else None)

        return await self._database.read(read)

    async def after(self, project_id: int, sequence: int, limit: int) -> Sequence[StoredEvent]:
        """Events of a project above `sequence`, oldest first: for exports."""

        async def read(tx: Transaction) -> Sequence[StoredEvent]:
            rows = await tx.rows(AFTER, project_id, sequence, limit)
            rest = await tx.rows(AFTER_REST, project_id, sequence, limit)
            return [shown_event(row) for row in oldest_first(rows, rest, limit)]

        return await self._database.read(read)

    async def repeats(self, event: StoredEvent) -> Sequence[KeyRepeat]:
        """Later requests with the event's key, oldest first, at most `REPEATS_KEPT`."""
        place = event.sequence, lane_of_id(event.id)
        rows = await self._database.read(lambda tx: tx.rows(REPEATS, *place))
        return [KeyRepeat(at, key, request, bool(other)) for at, key, request, other in rows]


async def find_event(tx: Transaction, project_id: int, event_id: bytes) -> StoredEvent | None:
    """One event, None when the project has no such event."""
    place = lane_of_id(event_id), sequence_of_id(event_id)
    return await _one(tx, GET, *place, event_id, project_id)


async def last_sequence(tx: Transaction) -> int:
    """The highest sequence stored, 0 in an empty store."""
    highest = project_id = 0
    while True:
        highest = max(highest, int(await tx.value(LAST_OF_PROJECT, project_id) or 0))
        found = await tx.rows(NEXT_PROJECT, project_id)
        if not found:
            return highest
        project_id = int(found[0][0])


async def _page_of_contact(
    tx: Transaction, project_id: int, wanted: EventFilter, before: int | None, limit: int
) -> EventPage:
    """A page combined from the lists of all ids that are merged with a contact."""
    asked = wanted.contact_id or ""
    contact = await find_ref(tx, project_id, asked)
    ids = [asked] if contact is None else await ids_of(tx, contact.id)
    found: dict[int, StoredEvent] = {}
    bounds: list[int] = []
    ends_unindexed = False
    for each in ids:
        for query in contact_queries(project_id, wanted, before, each):
            walked = await _walked(tx, query, limit)
            ends_unindexed |= walked.ends_unindexed
            found |= {event.sequence: event for event in walked.events}
            if walked.bound is not None:
                bounds.append(walked.bound)
    # Below the highest bound one of the lists has not been examined.
    bound = max(bounds, default=None)
    whole = [sequence for sequence in found if bound is None or sequence >= bound]
    whole.sort(reverse=True)
    # An event sent with one of the ids may have been resolved to another contact while the two were
    # merged.
    page = [
        found[sequence]
        for sequence in whole[:limit]
        if found[sequence].resolved_contact_id in (None, *ids)
    ]
    more = len(whole) > limit
    return EventPage(
        page,
        whole[limit - 1] if more else bound,
        await _count_unindexed(tx, project_id) if ends_unindexed and not more else None,
    )


class _Walked(msgspec.Struct, frozen=True):
    """Up to `limit + 1` events of a list."""

    events: list[StoredEvent]
    #: Sequence down to which they are all; None: to the end.
    bound: int | None
    #: Whether it ends among events that are in no index yet.
    ends_unindexed: bool


async def _walked(tx: Transaction, query: ListQuery, limit: int) -> _Walked:
    floor = rest_floor = None
    find_floor = query.floor()
    if find_floor is not None:
        floor = await tx.value(find_floor, *query.values[: query.leading_values])
    find_floor = query.rest_floor()
    if find_floor is not None:
        for row in await tx.rows(find_floor, *query.values[:1]):
            rest_floor = row[0]
    floor = max((each for each in (floor, rest_floor) if each is not None), default=None)
    rows = await tx.rows(query.page(limit + 1, floor), *query.values)
    rest = query.rest(limit + 1, floor)
    if rest is not None:
        rows = newest_first(rows, await tx.rows(rest, *query.values), limit + 1)
    events = [shown_event(row) for row in rows]
    if len(events) > limit:
        return _Walked(events, events[limit].sequence, ends_unindexed=False)
    return _Walked(events, floor, ends_unindexed=floor is not None and floor == rest_floor)


async def _count_unindexed(tx: Transaction, project_id: int) -> int:
    return int(await tx.value(COUNT_QUEUE, project_id))


async def _one(tx: Transaction, statement: Statement, *values: Any) -> StoredEvent | None:
    row = await tx.row(statement, *values)
    return None if row is None else shown_event(row)
