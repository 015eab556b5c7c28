"""Erasures in the embedded store."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import apsw
import msgspec

from headrace.domain.contacts import IDENTIFIERS, Contact
from headrace.domain.ids import new_uuid, uuid_text
from headrace.domain.placeholders import placeholders
from headrace.store.access.audit import write_audit
from headrace.store.access.policies import read_policies
from headrace.store.contacts.memberships import read_memberships
from headrace.store.contacts.refs import find_ref
from headrace.store.contract_erasures import SETTLE_US, Erasure, ErasureStatus
from headrace.store.engine.transaction import drive
from headrace.store.rows.erasures import (
    COLUMNS,
    Subject,
    added,
    erasure,
    read_subject,
    subject_of,
    subject_text,
)
from headrace.store.sqlite import contact_rows
from headrace.store.sqlite.contacts import remove
from headrace.store.sqlite.erased_events import erase_events, find_events, last_events
from headrace.store.sqlite.erased_mentions import erase_mentions
from headrace.store.sqlite.file_wiping import wipe_file
from headrace.store.sqlite.readers import Readers
from headrace.store.sqlite.transaction import SqliteTransaction
from headrace.store.sqlite.writer import Writer

T = TypeVar("T")

_AFTER_ALL = 1 << 62
_GET = f"SELECT {COLUMNS} FROM erasures WHERE id = ? AND project_id = ?"  # noqa: S608
_OF_CONTACT = f"SELECT {COLUMNS} FROM erasures WHERE contact_id = ? AND project_id = ?"  # noqa: S608
_LIST = (
    f"SELECT {COLUMNS} FROM erasures WHERE project_id = ? AND number < ? "  # noqa: S608
    "ORDER BY number DESC LIMIT ?"
)
_UNFINISHED = (
    f"SELECT {COLUMNS} FROM erasures INDEXED BY erasures_unfinished "  # noqa: S608
    "WHERE status <> 'done' ORDER BY number LIMIT ?"
)
_INSERT = (
    "INSERT INTO erasures (id, project_id, contact_id, status, subject, counts, actor, created_us) "
    "VALUES (?, ?, ?, 'running', ?, ?, ?, ?)"
)
_PLACE = (
    "SELECT project_id, subject, counts, created_us FROM erasures "
    "WHERE id = ? AND status = 'running'"
)
_ALIASES = "SELECT kind, value FROM contact_aliases WHERE contact_id = ?"
_HAD_EVENTS = (
    "SELECT 1 FROM events WHERE project_id = ? AND resolved_contact_id = ? "
    "AND resolved_contact_id IS NOT NULL LIMIT 1"
)
_REMOVE_MERGES = "DELETE FROM merges WHERE contact_id = ?1 OR other_contact_id = ?1"


class SqliteErasures:
    """See `headrace.store.contract_erasures.ErasureStore`."""

    def __init__(self, writer: Writer, readers: Readers, path: Path) -> None:
        self._writer = writer
        self._readers = readers
        self._path = path

    async def begin(
        self, project_id: int, contact_id: str, now_us: int, *, actor: str
    ) -> Erasure | None:
        return await self._securely(
            lambda connection: _begin(connection, project_id, contact_id, now_us, actor)
        )

    async def get(self, project_id: int, erasure_id: str) -> Erasure | None:
        return await self._readers.run(
            lambda connection: _one(connection, _GET, erasure_id, project_id)
        )

    async def list(self, project_id: int, *, before: int | None, limit: int) -> Sequence[Erasure]:
        values = (project_id, _AFTER_ALL if before is None else before, limit)
        return await self._readers.run(
            lambda connection: [erasure(row) for row in connection.execute(_LIST, values)]
        )

    async def unfinished(self, limit: int) -> Sequence[Erasure]:
        return await self._readers.run(
            lambda connection: [erasure(row) for row in connection.execute(_UNFINISHED, (limit,))]
        )

    async def advance(self, erasure_id: str, limit: int, now_us: int) -> bool:
        return await self._securely(
            lambda connection: _advance(connection, erasure_id, limit, now_us)
        )

    async def wipe(self, now_us: int) -> bool:
        if not await self._writer.run_bare(lambda connection: wipe_file(connection, self._path)):
            return False

        def work(connection: apsw.Connection) -> None:
            connection.execute(
                "UPDATE erasures SET status = 'done', finished_us = ? WHERE status = 'wiping'",
                (now_us,),
            )

        await self._writer.run(work)
        return True

    async def _securely(self, work: Callable[[apsw.Connection], T]) -> T:
        """Run `work` so that what it removes is overwritten at once, freed pages too."""

        def overwriting(connection: apsw.Connection) -> T:
            connection.pragma("secure_delete", 1)
            try:
                return work(connection)
            finally:
                connection.pragma("secure_delete", "fast")

        return await self._writer.run(overwriting)


def _one(connection: apsw.Connection, sql: str, *values: Any) -> Erasure | None:
    row: Any = connection.execute(sql, values).fetchone()
    return None if row is None else erasure(row)


def _begin(
    connection: apsw.Connection, project_id: int, contact_id: str, now_us: int, actor: str
) -> Erasure | None:
    begun = _one(connection, _OF_CONTACT, contact_id, project_id)
    if begun is not None:
        return begun
    held = contact_rows.by_id(connection, project_id, contact_id)
    if held is None and not connection.execute(_HAD_EVENTS, (project_id, contact_id)).fetchone():
        return None
    subject = _subject(connection, project_id, contact_id, held)
    erasure_id = uuid_text(new_uuid())
    counts = {} if held is None else _remove_contact(connection, held, subject, now_us)
    own_id = contact_id if held is None else held.id
    values = (erasure_id, project_id, own_id, subject_text(subject), json.dumps(counts), actor)
    connection.execute(_INSERT, (*values, now_us))
    detail = {"erasure": erasure_id, "contact": own_id}
    drive(
        write_audit(
            SqliteTransaction(connection), now_us, actor, project_id, "contact.erase", detail
        )
    )
    return _one(connection, _GET, erasure_id, project_id)


def _subject(
    connection: apsw.Connection, project_id: int, contact_id: str, held: Contact | None
) -> Subject:
    """By what the person is found, from all that leads to the contact."""
    own_id = contact_id if held is None else held.id
    identifiers: list[Any] = connection.execute(_ALIASES, (own_id,)).fetchall()
    ids = [own_id, *(value for kind, value in identifiers if kind == "contact_id")]
    written = []
    if held is not None:
        identifiers += [(f, value) for f in IDENTIFIERS if (value := getattr(held, f)) is not None]
        written.append(held.email_original)
    words = drive(read_policies(SqliteTransaction(connection), project_id)).placeholder_identifiers
    subject = subject_of(project_id, ids, identifiers, written, placeholders(words))
    last, last_system = last_events(connection, subject)
    return msgspec.structs.replace(subject, last=last, last_system=last_system)


def _remove_contact(
    connection: apsw.Connection, held: Contact, subject: Subject, now_us: int
) -> dict[str, int]:
    tx = SqliteTransaction(connection)
    ref = drive(find_ref(tx, held.project_id, held.id))
    assert ref is not None
    held_by = drive(read_memberships(tx, ref))
    aliases: Any = connection.execute(_ALIASES, (held.id,)).fetchall()
    merges = 0
    for contact_id in subject.contact_ids:
        connection.execute(_REMOVE_MERGES, (contact_id,))
        merges += connection.changes()
    remove(connection, held, now_us, "erase")
    counts = {
        "contacts": 1,
        "identifiers": len(aliases),
        "merges": merges,
        "topics": len(held_by.topics) + (held_by.opted_out_us is not None),
        "audiences": len(held_by.audiences),
    }
    return added({}, counts)


def _advance(connection: apsw.Connection, erasure_id: str, limit: int, now_us: int) -> bool:
    place: Any = connection.execute(_PLACE, (erasure_id,)).fetchone()
    if place is None:
        return False
    project_id, text, counts, created_us = place
    subject = read_subject(text)
    held = json.loads(counts)
    sequences = find_events(connection, subject, limit)
    goes_on = bool(sequences) or now_us - created_us < SETTLE_US
    if sequences:
        held = added(held, erase_events(connection, project_id, sequences))
    elif not goes_on:
        held = added(held, erase_mentions(connection, subject))
    _move(connection, erasure_id, held, goes_on=goes_on)
    return goes_on


def _move(
    connection: apsw.Connection, erasure_id: str, counts: dict[str, int], *, goes_on: bool
) -> None:
    connection.execute(
        "UPDATE erasures SET counts = ?1, status = ?2, "
        "subject = CASE WHEN ?2 = 'running' THEN subject END WHERE id = ?3",
        (
            json.dumps(counts),
            (ErasureStatus.RUNNING if goes_on else ErasureStatus.WIPING).value,
            erasure_id,
        ),
    )
