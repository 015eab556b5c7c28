"""Events of a person to forget, with everything that is kept about them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.domain.ids import SYSTEM_COUNTER
from headrace.store.contacts.races import ContactRaceError
from headrace.store.contract.processing import Claimed
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import sql, to_sqlite, without_lane
from headrace.store.engine.transaction import Transaction
from headrace.store.events.event_removal import (
    DELIVERIES_MAX,
    REMOVE_EVENTS,
    forget_keys,
    removal,
    remove_belongings,
    remove_rows,
)
from headrace.store.events.parts import from_parts, unindexed
from headrace.store.privacy.person_events import Place, Removed
from headrace.store.privacy.rows import Subject, added, read_subject

#: How events are found: table and column, and the values of a subject.
_PLACES = {
    "contact_id": ("events", "contact_id"),
    "resolved": ("event_states", "contact_id"),
    "external_id": ("events", "external_id"),
    "email": ("events", "email"),
}
# SQLite uses a partial index of non-null rows only where the statement states the condition.
_FIND = (
    "SELECT t.lane, t.sequence FROM unnest($2::text[]) AS k (value) "
    "JOIN {table} t ON t.project_id = $1 AND t.{column} = k.value AND t.{column} IS NOT NULL "
    "WHERE t.sequence <= $3 "
    f"AND t.sequence <= CASE t.sequence & {SYSTEM_COUNTER:d} "
    "WHEN 0 THEN $4::bigint ELSE $5::bigint END LIMIT $6"
)
# The newest event of one kind with an identifier; `$3` is the bit that distinguishes the kinds.
_LAST = (
    "SELECT t.sequence FROM {table} t WHERE t.project_id = $1 AND t.{column} = $2 "
    f"AND t.{{column}} IS NOT NULL AND t.sequence & {SYSTEM_COUNTER:d} = $3 "
    "ORDER BY t.sequence DESC LIMIT 1"
)
_SQLITE_COLUMNS = {"resolved": "resolved_contact_id"}


def _in_parts(text: str, name: str) -> str:
    """The same on SQLite: part by part, and the state of an event in the event's own row."""
    column = _SQLITE_COLUMNS.get(name, name)
    text = text.replace(
        "JOIN {table} t ON ", "CROSS JOIN event_parts p CROSS JOIN events t ON t.part = p.part AND "
    )
    text = text.replace("FROM {table} t", f"FROM {from_parts('events', 't')}")
    text = text.replace("ORDER BY t.sequence", "ORDER BY p.part DESC, t.sequence")
    return to_sqlite(text.format(column=column))


FIND = {
    name: sql(_FIND.format(table=table, column=column), sqlite=_in_parts(_FIND, name))
    for name, (table, column) in _PLACES.items()
}
LAST = {
    name: sql(_LAST.format(table=table, column=column), sqlite=_in_parts(_LAST, name))
    for name, (table, column) in _PLACES.items()
}
# Of what no worker has processed yet: it is resolved to nobody.
_MEANT = (
    "e.contact_id IN (SELECT value FROM json_each(?2)) OR e.external_id IN "
    "(SELECT value FROM json_each(?3)) OR e.email IN (SELECT value FROM json_each(?4))"
)
FIND_REST = unindexed(
    "e.lane, e.sequence",
    f"AND ({_MEANT}) AND q.sequence <= ?5 AND q.sequence <= CASE q.sequence & {SYSTEM_COUNTER:d} "
    "WHEN 0 THEN ?6 ELSE ?7 END",
    "LIMIT ?8",
)
LAST_REST = unindexed(
    "q.sequence", f"AND ({_MEANT}) AND q.sequence & {SYSTEM_COUNTER:d} = ?5", "DESC LIMIT 1"
)
_NAMED = "unnest($1::smallint[], $2::bigint[]) AS k (lane, sequence)"
DELIVERIES = without_lane(
    f"SELECT d.lane, d.sequence, d.number FROM {_NAMED} "
    "JOIN deliveries d ON d.lane = k.lane AND d.sequence = k.sequence"
)
EVENTS = without_lane(
    "SELECT e.idempotency_key, e.sequence, e.event, e.id "
    f"FROM {_NAMED} JOIN events e ON e.lane = k.lane AND e.sequence = k.sequence"
)
EXAMPLES = sql(
    "UPDATE catalog_names SET example = NULL, example_id = NULL WHERE project_id = $1 "
    "AND event = ANY($2::text[]) AND example_id = ANY($3::uuid[])"
)
_BY_PLACE = removal("event_queue", "sequence")
REMOVE_WORK = sql(
    f"{_BY_PLACE.postgres} AND t.project_id = $3",
    sqlite=f"{_BY_PLACE.sqlite} AND project_id = ?3",
)
REMOVE_RETRIES = removal("event_retries", "sequence")
_RUNNING = "WHERE status <> 'done' AND status = 'running'"
RUNNING = sql(
    f"SELECT id, subject FROM erasures {_RUNNING}",
    # Without statistics SQLite would scan the table.
    sqlite=f"SELECT id, subject FROM erasures INDEXED BY erasures_unfinished {_RUNNING}",
)
_COUNTS = sql("SELECT counts FROM erasures WHERE id = $1 FOR UPDATE")
_COUNT = sql("UPDATE erasures SET counts = $1 WHERE id = $2")


class PersonEvents:
    """Removes events of a person, with everything that is kept about them."""

    async def last(self, tx: Transaction, subject: Subject) -> tuple[int, int]:
        """Sequences of the newest customer event and system event of the person, or 0."""
        found = []
        for bit in (0, SYSTEM_COUNTER):
            last = 0
            for name, values in _values(subject).items():
                for value in values:
                    newest = await tx.value(LAST[name], subject.project_id, value, bit)
                    last = max(last, newest or 0)
            rest = await tx.rows(LAST_REST, subject.project_id, *_named(subject), bit)
            found.append(max(last, *(row[0] for row in rest)) if rest else last)
        return found[0], found[1]

    async def find(self, tx: Transaction, subject: Subject, limit: int) -> Sequence[Place]:
        """The next events to remove, as many as fit one transaction; empty: none is left."""
        found: set[Place] = set()
        for name, values in _values(subject).items():
            wanted = (subject.project_id, list(values), *subject.bounds, limit)
            found |= {(row[0], row[1]) for row in await tx.rows(FIND[name], *wanted)}
            if len(found) >= limit:
                break
        if len(found) < limit:
            named = (subject.project_id, *_named(subject), *subject.bounds, limit)
            found |= {(row[0], row[1]) for row in await tx.rows(FIND_REST, *named)}
        return (await _fitting(tx, sorted(found)[:limit]))[0]

    async def remove(self, tx: Transaction, project_id: int, places: Sequence[Place]) -> Removed:
        """Remove events; possibly not all if given more than `find` returns."""
        return await _erase(tx, project_id, places)


class ErasedEvents:
    """Keeps events of people who are being forgotten from being processed.

    Processing them would recreate a contact from old events. On PostgreSQL an erasure may begin
    after the batch's data was read: so this checks again at the end, and if it concerns the batch,
    the batch is retried without those events.
    """

    def __init__(self) -> None:
        self._known: dict[str, Subject] = {}

    async def without(self, tx: Transaction, batch: Sequence[Claimed]) -> Sequence[Claimed]:
        """Erase events of the batch that running erasures concern; returns the rest."""
        left = batch
        for erasure_id, subject in self._known.items():
            meant = [(event.lane, event.sequence) for event in left if subject.means(event)]
            if not meant:
                continue
            left = [event for event in left if not subject.means(event)]
            counts = msgspec.json.decode(await tx.value(_COUNTS, erasure_id), type=dict[str, int])
            while meant:
                erased = await _erase(tx, subject.project_id, meant)
                counts = added(counts, erased.counts)
                meant = meant[len(erased.events) :]
            await tx.run(_COUNT, msgspec.json.encode(counts).decode(), erasure_id)
        return left

    async def find_running(self, tx: Transaction, batch: Sequence[Claimed]) -> bool:
        """Find running erasures that concern the batch; returns whether there are new ones."""
        rows = await tx.rows(RUNNING)
        if not rows:
            return False
        running = {row[0]: read_subject(row[1]) for row in rows if row[0] not in self._known}
        meant = {
            erasure_id: subject
            for erasure_id, subject in running.items()
            if any(subject.means(event) for event in batch)
        }
        self._known |= meant
        return bool(meant)

    async def check(self, tx: Transaction, batch: Sequence[Claimed]) -> None:
        """Check that no running erasure concerns the batch.

        Raises:
            ContactRaceError: one does; roll the batch back.
        """
        if await self.find_running(tx, batch):
            raise ContactRaceError


def _named(subject: Subject) -> tuple[list[str], list[str], list[str]]:
    return [*subject.contact_ids], [*subject.external_ids], [*subject.emails]


def _values(subject: Subject) -> dict[str, tuple[str, ...]]:
    return {
        "contact_id": subject.contact_ids,
        "resolved": subject.contact_ids,
        "external_id": subject.external_ids,
        "email": subject.emails,
    }


async def _fitting(tx: Transaction, places: Sequence[Place]) -> tuple[list[Place], list[Place]]:
    """The events, at least one, that fit one transaction, and the keys of their deliveries."""
    deliveries: dict[int, list[Place]] = {}
    for lane, sequence, number in await tx.rows(DELIVERIES, *columns_of(places, 2)):
        deliveries.setdefault(sequence, []).append((lane, number))
    taken: list[Place] = []
    numbers: list[Place] = []
    for place in places:
        of_event = deliveries.get(place[1], ())
        if taken and len(numbers) + len(of_event) > DELIVERIES_MAX:
            break
        taken.append(place)
        numbers += of_event
    return taken, numbers


async def _erase(tx: Transaction, project_id: int, places: Sequence[Place]) -> Removed:
    """Remove events whatever their state.

    Fewer than requested when they have very many deliveries.
    """
    taken, numbers = await _fitting(tx, places)
    return Removed(taken, await _remove(tx, project_id, taken, numbers))


async def _remove(
    tx: Transaction, project_id: int, places: Sequence[Place], numbers: Sequence[Place]
) -> dict[str, int]:
    columns = columns_of(sorted(places), 2)
    # A claim moves an event from the retries to the queue, a failure the other way.
    work = await tx.run(REMOVE_WORK, *columns, project_id)
    work += await tx.run(REMOVE_RETRIES, *columns)
    work += await tx.run(REMOVE_WORK, *columns, project_id)
    rows = await tx.rows(EVENTS, *columns)
    keys = [(row[0], row[1]) for row in rows]
    counts = await remove_belongings(tx, project_id, places, numbers, keys)
    names, ids = sorted({row[2] for row in rows}), [row[3] for row in rows]
    counts["event_queue"] = work
    counts["catalog_examples"] = await tx.run(EXAMPLES, project_id, names, ids)
    counts["events"] = await remove_rows(tx, REMOVE_EVENTS, places)
    await forget_keys(tx, project_id, (key for key, _ in keys))
    return counts
