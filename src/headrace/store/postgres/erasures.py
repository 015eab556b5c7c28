"""Erasures on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.domain.contacts import Contact
from headrace.domain.ids import new_uuid, uuid_text
from headrace.domain.placeholders import placeholders
from headrace.store.access.audit import write_audit
from headrace.store.access.policies import read_policies
from headrace.store.contacts.memberships import read_memberships
from headrace.store.contacts.refs import find_ref
from headrace.store.contract_erasures import SETTLE_US, Erasure, ErasureStatus
from headrace.store.postgres import contact_rows
from headrace.store.postgres.aliases import aliases_of, ids_of, own_of
from headrace.store.postgres.contact_races import write_contacts
from headrace.store.postgres.contacts import remove
from headrace.store.postgres.database import Connection, Database
from headrace.store.postgres.erased_events import erase_events, find_events, last_events
from headrace.store.postgres.erased_mentions import erase_mentions
from headrace.store.postgres.numbers import Numbers
from headrace.store.postgres.transaction import PostgresTransaction
from headrace.store.rows.erasures import (
    COLUMNS,
    Subject,
    added,
    erasure,
    read_subject,
    subject_of,
    subject_text,
)

_AFTER_ALL = (1 << 63) - 1
_GET = f"SELECT {COLUMNS} FROM erasures WHERE id = $1 AND project_id = $2"  # noqa: S608
_OF_CONTACT = f"SELECT {COLUMNS} FROM erasures WHERE contact_id = $1 AND project_id = $2"  # noqa: S608
_LIST = (
    f"SELECT {COLUMNS} FROM erasures WHERE project_id = $1 AND number < $2 "  # noqa: S608
    "ORDER BY number DESC LIMIT $3"
)
_UNFINISHED = f"SELECT {COLUMNS} FROM erasures WHERE status <> 'done' ORDER BY number LIMIT $1"  # noqa: S608
_INSERT = (
    "INSERT INTO erasures (id, project_id, contact_id, status, subject, counts, actor, created_us) "
    "VALUES ($1, $2, $3, 'running', $4, $5, $6, $7)"
)
_PLACE = (
    "SELECT project_id, subject, counts, created_us FROM erasures "
    "WHERE id = $1 AND status = 'running' FOR UPDATE"
)
_MOVE = (
    "UPDATE erasures SET counts = $1, status = $2, "
    "subject = CASE WHEN $2 = 'running' THEN subject END WHERE id = $3"
)
_DONE = "UPDATE erasures SET status = 'done', finished_us = $1 WHERE status = 'wiping'"
_HAD_EVENTS = "SELECT 1 FROM outcomes WHERE project_id = $1 AND contact_id = $2 LIMIT 1"
_REMOVE_MERGES = (
    "DELETE FROM merges WHERE contact_id = ANY($1::text[]) OR other_contact_id = ANY($1::text[])"
)


class PostgresErasures:
    """See `headrace.store.contract_erasures.ErasureStore`."""

    def __init__(self, database: Database, numbers: Numbers) -> None:
        self._database = database
        self._numbers = numbers

    async def begin(
        self, project_id: int, contact_id: str, now_us: int, *, actor: str
    ) -> Erasure | None:
        async def work(connection: Connection) -> Erasure | None:
            begun = await connection.fetchrow(_OF_CONTACT, contact_id, project_id)
            if begun is not None:
                return erasure(begun)
            return await self._begin(connection, project_id, contact_id, now_us, actor)

        return await write_contacts(self._database, work)

    async def _begin(
        self, connection: Connection, project_id: int, contact_id: str, now_us: int, actor: str
    ) -> Erasure | None:
        held = await contact_rows.by_id(connection, project_id, contact_id, lock=True)
        if held is None and not await connection.fetchval(_HAD_EVENTS, project_id, contact_id):
            return None
        subject = await _subject(connection, project_id, contact_id, held)
        erasure_id = uuid_text(new_uuid())
        own_id = contact_id if held is None else held.id
        counts: dict[str, int] = {}
        if held is not None:
            counts = await self._remove_contact(connection, held, subject, now_us)
        values = (erasure_id, project_id, own_id, subject_text(subject), _text(counts), actor)
        await connection.execute(_INSERT, *values, now_us)
        detail = {"erasure": erasure_id, "contact": own_id}
        await write_audit(
            PostgresTransaction(connection), now_us, actor, project_id, "contact.erase", detail
        )
        return erasure(await connection.fetchrow(_GET, erasure_id, project_id))

    async def _remove_contact(
        self, connection: Connection, held: Contact, subject: Subject, now_us: int
    ) -> dict[str, int]:
        ref = await find_ref(PostgresTransaction(connection), held.project_id, held.id)
        assert ref is not None
        held_by = await read_memberships(PostgresTransaction(connection), ref)
        aliases = await aliases_of(connection, held.id)
        gone = await connection.execute(_REMOVE_MERGES, list(subject.contact_ids))
        await remove(connection, self._numbers, held, now_us, "erase")
        counts = {
            "contacts": 1,
            "identifiers": len(aliases),
            "merges": int(gone.rpartition(" ")[2]),
            "topics": len(held_by.topics) + (held_by.opted_out_us is not None),
            "audiences": len(held_by.audiences),
        }
        return added({}, counts)

    async def get(self, project_id: int, erasure_id: str) -> Erasure | None:
        row = await self._database.read(
            lambda connection: connection.fetchrow(_GET, erasure_id, project_id)
        )
        return None if row is None else erasure(row)

    async def list(self, project_id: int, *, before: int | None, limit: int) -> Sequence[Erasure]:
        place = _AFTER_ALL if before is None else before
        rows = await self._database.read(
            lambda connection: connection.fetch(_LIST, project_id, place, limit)
        )
        return [erasure(row) for row in rows]

    async def unfinished(self, limit: int) -> Sequence[Erasure]:
        rows = await self._database.read(lambda connection: connection.fetch(_UNFINISHED, limit))
        return [erasure(row) for row in rows]

    async def advance(self, erasure_id: str, limit: int, now_us: int) -> bool:
        async def work(connection: Connection) -> bool:
            return await _advance(connection, erasure_id, limit, now_us)

        return await self._database.write(work)

    async def wipe(self, now_us: int) -> bool:
        # What removed rows leave in its files the server overwrites by itself, in its own time.
        async def work(connection: Connection) -> None:
            await connection.execute(_DONE, now_us)

        await self._database.write(work)
        return True


async def _subject(
    connection: Connection, project_id: int, contact_id: str, held: Contact | None
) -> Subject:
    """By what the person is found, from all that leads to the contact."""
    own_id = contact_id if held is None else held.id
    ids = await ids_of(connection, own_id)
    identifiers = await aliases_of(connection, own_id)
    written: list[str | None] = []
    if held is not None:
        identifiers += own_of(held)
        written.append(held.email_original)
    words = (
        await read_policies(PostgresTransaction(connection), project_id)
    ).placeholder_identifiers
    subject = subject_of(project_id, ids, identifiers, written, placeholders(words))
    last, last_system = await last_events(connection, subject)
    return msgspec.structs.replace(subject, last=last, last_system=last_system)


async def _advance(connection: Connection, erasure_id: str, limit: int, now_us: int) -> bool:
    place: Any = await connection.fetchrow(_PLACE, erasure_id)
    if place is None:
        return False
    project_id, text, counts, created_us = place
    subject = read_subject(text)
    held = msgspec.json.decode(counts, type=dict[str, int])
    places = await find_events(connection, subject, limit)
    goes_on = bool(places) or now_us - created_us < SETTLE_US
    if places:
        held = added(held, await erase_events(connection, project_id, places))
    elif not goes_on:
        held = added(held, await erase_mentions(connection, subject))
    status = ErasureStatus.RUNNING if goes_on else ErasureStatus.WIPING
    await connection.execute(_MOVE, _text(held), status.value, erasure_id)
    return goes_on


def _text(counts: dict[str, int]) -> str:
    return msgspec.json.encode(counts).decode()
