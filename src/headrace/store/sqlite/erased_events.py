"""Events of a person who is to be forgotten, with all that is kept about them.

Everything runs inside the caller's transaction; every statement finds its rows by an index.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import apsw

from headrace.domain.ids import SYSTEM_COUNTER
from headrace.store.contacts.erasure_rows import Subject, added, read_subject
from headrace.store.contacts.person_events import Place, Removed
from headrace.store.contract_processing import Claimed
from headrace.store.engine.transaction import Transaction
from headrace.store.sqlite.retention import (
    REMOVE_ATTEMPTS,
    REMOVE_DEAD_LETTERS_OF_EVENTS,
    REMOVE_DELIVERIES,
    REMOVE_EVENTS,
)
from headrace.store.sqlite.transaction import SqliteTransaction

#: Deliveries of the events of one slice; an event that has more of them is a slice by itself.
DELIVERIES_MAX = 1000

_COLUMNS = ("contact_id", "external_id", "email", "resolved_contact_id")
FIND = {
    column: (
        "SELECT e.lane, e.sequence FROM json_each(?2) j CROSS JOIN events e "  # noqa: S608
        f"ON e.project_id = ?1 AND e.{column} = j.value AND e.{column} IS NOT NULL "
        "WHERE e.sequence <= ?3 "
        f"AND e.sequence <= CASE WHEN e.sequence & {SYSTEM_COUNTER:d} THEN ?5 ELSE ?4 END LIMIT ?6"
    )
    for column in _COLUMNS
}
# The newest of one kind of each identifier; `?3` is the bit that tells the kinds apart.
LAST = {
    column: (
        "SELECT max(last) FROM (SELECT (SELECT e.sequence FROM events e "  # noqa: S608
        f"WHERE e.project_id = ?1 AND e.{column} = j.value AND e.{column} IS NOT NULL "
        f"AND e.sequence & {SYSTEM_COUNTER:d} = ?3 ORDER BY e.sequence DESC LIMIT 1) AS last "
        "FROM json_each(?2) j)"
    )
    for column in _COLUMNS
}
_DELIVERIES = (
    "SELECT d.sequence, d.number FROM json_each(?1) j "
    "CROSS JOIN deliveries d ON d.sequence = j.value"
)
_NAMES = "SELECT DISTINCT event FROM events WHERE sequence IN (SELECT value FROM json_each(?1))"
_BY_SEQUENCE = "WHERE sequence IN (SELECT value FROM json_each(?1))"
_DETAILS = {
    "work": f"DELETE FROM work {_BY_SEQUENCE} AND project_id = ?2",  # noqa: S608
    "retries": f"DELETE FROM work_retries {_BY_SEQUENCE} AND project_id = ?2",  # noqa: S608
    "key_repeats": f"DELETE FROM key_repeats {_BY_SEQUENCE}",  # noqa: S608
    "attempts": f"DELETE FROM processing_attempts {_BY_SEQUENCE}",  # noqa: S608
    "conflicts": f"DELETE FROM contact_conflicts {_BY_SEQUENCE}",  # noqa: S608
    "dead_letters": REMOVE_DEAD_LETTERS_OF_EVENTS,
}
_EXAMPLES = (
    "UPDATE catalog_names SET example = NULL, example_id = NULL WHERE project_id = ?2 "  # noqa: S608
    "AND event IN (SELECT value FROM json_each(?3)) "
    f"AND example_id IN (SELECT id FROM events {_BY_SEQUENCE})"
)
_RUNNING = (
    "SELECT id, subject, counts FROM erasures INDEXED BY erasures_unfinished "
    "WHERE status <> 'done' AND status = 'running'"
)
_COUNT = "UPDATE erasures SET counts = ? WHERE id = ?"


def _values(subject: Subject) -> dict[str, tuple[str, ...]]:
    return {
        "contact_id": subject.contact_ids,
        "resolved_contact_id": subject.contact_ids,
        "external_id": subject.external_ids,
        "email": subject.emails,
    }


def last_events(connection: apsw.Connection, subject: Subject) -> tuple[int, int]:
    """Sequences of the newest customer event and system event of the person, 0 without any."""
    found = []
    for bit in (0, SYSTEM_COUNTER):
        last = 0
        for column, values in _values(subject).items():
            wanted = (subject.project_id, json.dumps(values), bit)
            row: Any = connection.execute(LAST[column], wanted).fetchone()
            last = max(last, row[0] or 0)
        found.append(last)
    return found[0], found[1]


def find_events(connection: apsw.Connection, subject: Subject, limit: int) -> list[Place]:
    """Some events that are to be forgotten."""
    found: set[Place] = set()
    for column, values in _values(subject).items():
        wanted = (subject.project_id, json.dumps(values), *subject.bounds, limit)
        rows: Any = connection.execute(FIND[column], wanted)
        found |= {(row[0], row[1]) for row in rows}
        if len(found) >= limit:
            break
    return sorted(found)[:limit]


def fitting(connection: apsw.Connection, places: Sequence[Place]) -> tuple[list[Place], list[int]]:
    """Those events, at least one, that can go at once, and numbers of their deliveries."""
    sequences = [sequence for _, sequence in places]
    rows: Any = connection.execute(_DELIVERIES, (json.dumps(sequences),))
    deliveries: dict[int, list[int]] = {}
    for sequence, number in rows:
        deliveries.setdefault(sequence, []).append(number)
    taken: list[Place] = []
    numbers: list[int] = []
    for place in places:
        sequence = place[1]
        if taken and len(numbers) + len(deliveries.get(sequence, ())) > DELIVERIES_MAX:
            break
        taken.append(place)
        numbers += deliveries.get(sequence, ())
    return taken, numbers


def erase_events(connection: apsw.Connection, project_id: int, places: Sequence[Place]) -> Removed:
    """Remove events whatever becomes of them.

    Fewer than were asked for, when they have very many deliveries.
    """
    taken, numbers = fitting(connection, places)
    text = json.dumps([sequence for _, sequence in taken])
    return Removed(taken, _remove(connection, project_id, text, json.dumps(numbers)))


def _remove(
    connection: apsw.Connection, project_id: int, sequences: str, numbers: str
) -> dict[str, int]:
    def change(statement: str, *values: Any) -> int:
        connection.execute(statement, values)
        return connection.changes()

    names = json.dumps([row[0] for row in connection.execute(_NAMES, (sequences,))])
    counts = {
        "catalog_examples": change(_EXAMPLES, sequences, project_id, names),
        "delivery_attempts": change(REMOVE_ATTEMPTS, numbers),
        "deliveries": change(REMOVE_DELIVERIES, numbers),
    }
    for place, statement in _DETAILS.items():
        values = (sequences, project_id) if "?2" in statement else (sequences,)
        counts[place] = change(statement, *values)
    counts["events"] = change(REMOVE_EVENTS, sequences)
    return counts


def erase_claimed(connection: apsw.Connection, batch: Sequence[Claimed]) -> Sequence[Claimed]:
    """Erase those of a batch that are of a person who is being forgotten; the rest is given back.

    Processing them would make the contact anew of events from before.
    """
    rows: list[Any] = connection.execute(_RUNNING).fetchall()
    if not rows:
        return batch
    left = list(batch)
    for erasure_id, text, counts in rows:
        subject = read_subject(text)
        meant = [(event.lane, event.sequence) for event in left if subject.means(event)]
        if not meant:
            continue
        left = [event for event in left if not subject.means(event)]
        held = json.loads(counts)
        while meant:
            erased = erase_events(connection, subject.project_id, meant)
            held = added(held, erased.counts)
            meant = meant[len(erased.events) :]
        connection.execute(_COUNT, (json.dumps(held), erasure_id))
    return left


class SqlitePersonEvents:
    """See `headrace.store.contacts.person_events.PersonEvents`."""

    async def last(self, tx: Transaction, subject: Subject) -> tuple[int, int]:
        assert isinstance(tx, SqliteTransaction)
        return last_events(tx.connection, subject)

    async def find(self, tx: Transaction, subject: Subject, limit: int) -> Sequence[Place]:
        assert isinstance(tx, SqliteTransaction)
        return fitting(tx.connection, find_events(tx.connection, subject, limit))[0]

    async def remove(self, tx: Transaction, project_id: int, places: Sequence[Place]) -> Removed:
        assert isinstance(tx, SqliteTransaction)
        return erase_events(tx.connection, project_id, places)
