"""Events of a person who is to be forgotten, with all that is kept about them, on PostgreSQL.

Workers write about the same events meanwhile. Each of their writes locks a row first that is
removed here before what it leads to: so either it is seen here, or it finds nothing any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from headrace.domain.identity import idempotency_hash, lane_of_key
from headrace.domain.ids import SYSTEM_COUNTER
from headrace.store.contacts.erasure_rows import Subject, added, read_subject
from headrace.store.contacts.person_events import Place, Removed
from headrace.store.contacts.races import ContactRaceError
from headrace.store.contract_processing import Claimed
from headrace.store.engine.columns import columns_of
from headrace.store.engine.transaction import Transaction
from headrace.store.postgres.database import Connection
from headrace.store.postgres.retention import (
    REMOVE_ATTEMPTS,
    REMOVE_DEAD_LETTERS_OF_EVENTS,
    REMOVE_DELIVERIES,
    REMOVE_EVENTS,
    REMOVE_KEYS,
    removal,
)
from headrace.store.postgres.transaction import PostgresTransaction

#: Deliveries of the events of one slice; an event that has more of them is a slice by itself.
DELIVERIES_MAX = 1000

_COLUMNS = ("contact_id", "external_id", "email")
_UP_TO = (
    f"t.sequence <= $3 AND t.sequence <= CASE t.sequence & {SYSTEM_COUNTER:d} "
    "WHEN 0 THEN $4::bigint ELSE $5::bigint END"
)
_FIND = (
    "SELECT t.lane, t.sequence FROM unnest($2::text[]) AS k (value) JOIN {table} t "  # noqa: S608
    f"ON t.project_id = $1 AND t.{{column}} = k.value WHERE {_UP_TO} LIMIT $6"
)
# The newest of one kind of an identifier; `$3` is the bit that tells the kinds apart.
_LAST = (
    "SELECT t.sequence FROM {table} t WHERE t.project_id = $1 AND t.{column} = $2 "  # noqa: S608
    f"AND t.sequence & {SYSTEM_COUNTER:d} = $3 ORDER BY t.sequence DESC LIMIT 1"
)
_PLACES = {column: ("events", column) for column in _COLUMNS} | {
    "resolved": ("outcomes", "contact_id")
}
FIND = {name: _FIND.format(table=table, column=c) for name, (table, c) in _PLACES.items()}
LAST = {name: _LAST.format(table=table, column=c) for name, (table, c) in _PLACES.items()}
_NAMED = "unnest($1::smallint[], $2::bigint[]) AS k (lane, sequence)"
DELIVERIES = (
    "SELECT d.lane, d.sequence, d.number "  # noqa: S608
    f"FROM {_NAMED} JOIN deliveries d ON d.lane = k.lane AND d.sequence = k.sequence"
)
KEYS = (
    "SELECT e.idempotency_key, e.sequence, e.event, e.id "  # noqa: S608
    f"FROM {_NAMED} JOIN events e ON e.lane = k.lane AND e.sequence = k.sequence"
)
EXAMPLES = (
    "UPDATE catalog_names SET example = NULL, example_id = NULL WHERE project_id = $1 "
    "AND event = ANY($2::text[]) AND example_id = ANY($3::uuid[])"
)
# A claim takes an event out of the retries and into the line, a failure the other way.
_WAITING = ("work", "work_retries", "work")
_DETAILS = {
    "key_repeats": removal("key_repeats", "sequence"),
    "attempts": removal("processing_attempts", "sequence"),
    "conflicts": removal("contact_conflicts", "sequence"),
    "dead_letters": REMOVE_DEAD_LETTERS_OF_EVENTS,
    "outcomes": removal("outcomes", "sequence"),
}
RUNNING = "SELECT id, subject FROM erasures WHERE status <> 'done' AND status = 'running'"
_COUNTS = "SELECT counts FROM erasures WHERE id = $1 FOR UPDATE"
_COUNT = "UPDATE erasures SET counts = $1 WHERE id = $2"


def _values(subject: Subject) -> dict[str, tuple[str, ...]]:
    return {
        "contact_id": subject.contact_ids,
        "resolved": subject.contact_ids,
        "external_id": subject.external_ids,
        "email": subject.emails,
    }


async def last_events(connection: Connection, subject: Subject) -> tuple[int, int]:
    """Sequences of the newest customer event and system event of the person, 0 without any."""
    found = []
    for bit in (0, SYSTEM_COUNTER):
        last = 0
        for name, values in _values(subject).items():
            for value in values:
                wanted = (subject.project_id, value, bit)
                last = max(last, await connection.fetchval(LAST[name], *wanted) or 0)
        found.append(last)
    return found[0], found[1]


async def find_events(connection: Connection, subject: Subject, limit: int) -> list[Place]:
    """Some events that are to be forgotten."""
    found: set[Place] = set()
    for name, values in _values(subject).items():
        wanted = (subject.project_id, list(values), *subject.bounds, limit)
        found |= {(row[0], row[1]) for row in await connection.fetch(FIND[name], *wanted)}
        if len(found) >= limit:
            break
    return sorted(found)[:limit]


async def fitting(
    connection: Connection, places: Sequence[Place]
) -> tuple[list[Place], list[Place]]:
    """Those events, at least one, that can go at once, and places of their deliveries."""
    deliveries: dict[Place, list[Place]] = {}
    for lane, sequence, number in await connection.fetch(DELIVERIES, *columns_of(places, 2)):
        deliveries.setdefault((lane, sequence), []).append((lane, number))
    taken: list[Place] = []
    numbers: list[Place] = []
    for place in places:
        if taken and len(numbers) + len(deliveries.get(place, ())) > DELIVERIES_MAX:
            break
        taken.append(place)
        numbers += deliveries.get(place, ())
    return taken, numbers


async def erase_events(connection: Connection, project_id: int, places: Sequence[Place]) -> Removed:
    """Remove events whatever becomes of them.

    Fewer than were asked for, when they have very many deliveries.
    """
    taken, numbers = await fitting(connection, places)
    counts = await _remove(connection, project_id, taken, sorted(numbers))
    return Removed(taken, counts)


async def _remove(
    connection: Connection, project_id: int, places: Sequence[Place], numbers: Sequence[Place]
) -> dict[str, int]:
    events = columns_of(places, 2)
    counts: dict[str, int] = {}
    for table in _WAITING:
        counts = added(
            counts, {"work": await _gone(connection, removal(table, "sequence"), events)}
        )
    counts["deliveries"] = await _gone(connection, REMOVE_DELIVERIES, columns_of(numbers, 2))
    counts["delivery_attempts"] = await _gone(connection, REMOVE_ATTEMPTS, columns_of(numbers, 2))
    for place, statement in _DETAILS.items():
        counts[place] = await _gone(connection, statement, events)
    rows = await connection.fetch(KEYS, *events)
    keys = _key_columns(project_id, ((row[0], row[1]) for row in rows))
    counts["keys"] = await _gone(connection, REMOVE_KEYS, keys)
    names, ids = sorted({row[2] for row in rows}), [row[3] for row in rows]
    counts["catalog_examples"] = await _gone(connection, EXAMPLES, [project_id, names, ids])
    counts["events"] = await _gone(connection, REMOVE_EVENTS, events)
    return counts


async def _gone(connection: Connection, statement: str, values: Sequence[Any]) -> int:
    return int((await connection.execute(statement, *values)).rpartition(" ")[2])


def _key_columns(project_id: int, events: Iterable[tuple[str | None, int]]) -> list[list[Any]]:
    named = sorted(
        (idempotency_hash(project_id, key), sequence) for key, sequence in events if key is not None
    )
    return columns_of([(lane_of_key(hashed), hashed, sequence) for hashed, sequence in named], 3)


class ErasedEvents:
    """Keeps a batch from being processed whose events are of people who are being forgotten.

    Processing them would make a contact anew of events from before. What a batch was planned from
    was read before others began to forget somebody, or after: so it is asked at the end, and when
    somebody of the batch is meant, the batch is done again without.
    """

    def __init__(self) -> None:
        self._known: dict[str, Subject] = {}

    async def without(self, connection: Connection, batch: Sequence[Claimed]) -> Sequence[Claimed]:
        """Erase those of the batch that are known to be meant; the rest is given back."""
        left = batch
        for erasure_id, subject in self._known.items():
            meant = sorted((event.lane, event.sequence) for event in left if subject.means(event))
            if not meant:
                continue
            left = [event for event in left if (event.lane, event.sequence) not in set(meant)]
            text = await connection.fetchval(_COUNTS, erasure_id)
            counts = msgspec.json.decode(text, type=dict[str, int])
            while meant:
                erased = await erase_events(connection, subject.project_id, meant)
                counts = added(counts, erased.counts)
                meant = meant[len(erased.events) :]
            await connection.execute(_COUNT, msgspec.json.encode(counts).decode(), erasure_id)
        return left

    async def check(self, connection: Connection, batch: Sequence[Claimed]) -> None:
        """Look for people of the batch who are being forgotten.

        Raises:
            ContactRaceError: there are some; nothing of the batch may stay.
        """
        rows = await connection.fetch(RUNNING)
        running = {row[0]: read_subject(row[1]) for row in rows if row[0] not in self._known}
        meant = {
            erasure_id: subject
            for erasure_id, subject in running.items()
            if any(subject.means(event) for event in batch)
        }
        if meant:
            self._known |= meant
            raise ContactRaceError


class FilesOfServer:
    """See `headrace.store.contacts.erasures.Files`."""

    async def wipe(self) -> bool:
        # The server overwrites by itself, in its own time, what removed rows leave in its files.
        return True


class PostgresPersonEvents:
    """See `headrace.store.contacts.person_events.PersonEvents`."""

    async def last(self, tx: Transaction, subject: Subject) -> tuple[int, int]:
        assert isinstance(tx, PostgresTransaction)
        return await last_events(tx.connection, subject)

    async def find(self, tx: Transaction, subject: Subject, limit: int) -> Sequence[Place]:
        assert isinstance(tx, PostgresTransaction)
        found = await find_events(tx.connection, subject, limit)
        return (await fitting(tx.connection, found))[0]

    async def remove(self, tx: Transaction, project_id: int, places: Sequence[Place]) -> Removed:
        assert isinstance(tx, PostgresTransaction)
        return await erase_events(tx.connection, project_id, places)
