"""Erasures: what makes Headrace forget a person.

The contact and its memberships go at once. The rest goes slice by slice: all events that were
stored by then and name the person by any identifier, with everything that is kept about them. An
event of the person that a worker meets meanwhile is erased instead of processed. What arrives
later is about somebody nobody knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from headrace.domain.contacts import Contact
from headrace.domain.ids import new_uuid, uuid_text
from headrace.domain.placeholders import placeholders
from headrace.store.access.audit import write_audit
from headrace.store.access.policies import read_policies
from headrace.store.contacts.contact_writes import FORGET_SNAPSHOTS, ContactWriter, by_id
from headrace.store.contacts.erased_mentions import erase_mentions
from headrace.store.contacts.erasure_rows import (
    COLUMNS,
    Subject,
    added,
    erasure,
    read_subject,
    subject_of,
    subject_text,
)
from headrace.store.contacts.identifiers import Alias, aliases_of, ids_of, own_aliases
from headrace.store.contacts.memberships import read_memberships
from headrace.store.contacts.races import write_contacts
from headrace.store.contacts.refs import find_ref
from headrace.store.contract_erasures import SETTLE_US, Erasure, ErasureStatus
from headrace.store.contract_merges import ALIASES_MAX
from headrace.store.engine.dialect import sql
from headrace.store.engine.numbers import RowNumbers
from headrace.store.engine.transaction import Database, Transaction
from headrace.store.events.system_events import SystemEvents

_AFTER_ALL = (1 << 63) - 1
_GET = sql(f"SELECT {COLUMNS} FROM erasures WHERE id = $1 AND project_id = $2")  # noqa: S608
OF_CONTACT = sql(
    f"SELECT {COLUMNS} FROM erasures WHERE contact_id = $1 AND project_id = $2"  # noqa: S608
)
LIST = sql(
    f"SELECT {COLUMNS} FROM erasures WHERE project_id = $1 AND number < $2 "  # noqa: S608
    "ORDER BY number DESC LIMIT $3"
)
UNFINISHED = sql(
    f"SELECT {COLUMNS} FROM erasures WHERE status <> 'done' ORDER BY number LIMIT $1",  # noqa: S608
    # Without statistics it would rather walk the table in the order of its numbers.
    sqlite=f"SELECT {COLUMNS} FROM erasures INDEXED BY erasures_unfinished "  # noqa: S608
    "WHERE status <> 'done' ORDER BY number LIMIT ?1",
)
_INSERT = sql(
    "INSERT INTO erasures (id, project_id, contact_id, status, subject, counts, actor, created_us) "
    "VALUES ($1, $2, $3, 'running', $4, $5, $6, $7)"
)
_PLACE = sql(
    "SELECT project_id, subject, counts, created_us FROM erasures "
    "WHERE id = $1 AND status = 'running' FOR UPDATE"
)
_MOVE = sql(
    "UPDATE erasures SET counts = $1, status = $2, "
    "subject = CASE WHEN $2 = 'running' THEN subject END WHERE id = $3"
)
# The index is of those that are not done; SQLite uses it where the statement says so, too.
DONE = sql(
    "UPDATE erasures SET status = 'done', finished_us = $1 "
    "WHERE status <> 'done' AND status = 'wiping'"
)
MERGED_WITH = sql(
    "SELECT contact_id, other_contact_id FROM merges "
    "WHERE contact_id = ANY($2::text[]) AND project_id = $1 AND undone_us IS NULL "
    "UNION ALL SELECT contact_id, other_contact_id FROM merges "
    "WHERE other_contact_id = ANY($2::text[]) AND project_id = $1 AND undone_us IS NULL"
)
REMOVE_MERGES = sql(
    "DELETE FROM merges WHERE contact_id = ANY($1::text[]) OR other_contact_id = ANY($1::text[])"
)


class PersonEvents(Protocol):
    """Events of a person, with all that is kept about them. Each store has its own."""

    async def had_events(self, tx: Transaction, project_id: int, contact_id: str) -> bool:
        """Whether events are kept that name a contact by its id or were resolved to it."""
        ...

    async def last(self, tx: Transaction, subject: Subject) -> tuple[int, int]:
        """Sequences of the newest customer event and system event of the person, or 0."""
        ...

    async def erase(self, tx: Transaction, subject: Subject, limit: int) -> dict[str, int] | None:
        """Remove up to `limit` events; rows removed by place, None when no event is left."""
        ...


class Files(Protocol):
    """What removed rows leave behind in the files of a store."""

    async def wipe(self) -> bool:
        """Overwrite it; False when somebody still reads it: ask again later."""
        ...


class Erasures:
    """Erasures of all projects.

    Args:
        database: one whose writes overwrite what they remove, where the store can do so.
    """

    def __init__(
        self,
        database: Database,
        system_events: SystemEvents,
        numbers: RowNumbers,
        person_events: PersonEvents,
        files: Files,
    ) -> None:
        self._database = database
        self._system_events = system_events
        self._numbers = numbers
        self._person_events = person_events
        self._files = files

    async def begin(
        self, project_id: int, contact_id: str, now_us: int, *, actor: str
    ) -> Erasure | None:
        """Remove a contact and begin to forget the person; None when there is none to forget.

        Also of a contact that was deleted before, as long as events of it are kept. Asked again,
        it gives the erasure that was begun first.
        """

        async def work(tx: Transaction) -> Erasure | None:
            begun = await tx.row(OF_CONTACT, contact_id, project_id)
            if begun is not None:
                return erasure(begun)
            return await self._begin(tx, project_id, contact_id, now_us, actor)

        return await write_contacts(lambda: self._database.write(work))

    async def _begin(
        self, tx: Transaction, project_id: int, contact_id: str, now_us: int, actor: str
    ) -> Erasure | None:
        held = await by_id(tx, project_id, contact_id, lock=True)
        if held is not None:
            ids = await ids_of(tx, held.id)
        else:
            ids = await _ids_by_merges(tx, project_id, contact_id)
            if not await self._had_events(tx, project_id, ids):
                return None
            await tx.run(FORGET_SNAPSHOTS, ids)
        subject = await self._subject(tx, project_id, ids, held)
        erasure_id = uuid_text(new_uuid())
        own_id = contact_id if held is None else held.id
        counts: dict[str, int] = {}
        if held is not None:
            counts = await self._remove_contact(tx, held, subject, now_us)
        values = (erasure_id, project_id, own_id, subject_text(subject), _text(counts), actor)
        await tx.run(_INSERT, *values, now_us)
        detail = {"erasure": erasure_id, "contact": own_id}
        await write_audit(tx, now_us, actor, project_id, "contact.erase", detail)
        row = await tx.row(_GET, erasure_id, project_id)
        assert row is not None
        return erasure(row)

    async def _had_events(self, tx: Transaction, project_id: int, ids: Sequence[str]) -> bool:
        for each in ids:
            if await self._person_events.had_events(tx, project_id, each):
                return True
        return False

    async def _subject(
        self, tx: Transaction, project_id: int, ids: Sequence[str], held: Contact | None
    ) -> Subject:
        """By what the person is found, from all that leads to the contact."""
        identifiers: list[Alias] = []
        written: list[str | None] = []
        if held is not None:
            identifiers = [*await aliases_of(tx, held.id), *own_aliases(held)]
            written.append(held.email_original)
        words = (await read_policies(tx, project_id)).placeholder_identifiers
        subject = subject_of(project_id, ids, identifiers, written, placeholders(words))
        last, last_system = await self._person_events.last(tx, subject)
        return msgspec.structs.replace(subject, last=last, last_system=last_system)

    async def _remove_contact(
        self, tx: Transaction, held: Contact, subject: Subject, now_us: int
    ) -> dict[str, int]:
        ref = await find_ref(tx, held.project_id, held.id)
        assert ref is not None
        memberships = await read_memberships(tx, ref)
        aliases = await aliases_of(tx, held.id)
        merges = await tx.run(REMOVE_MERGES, list(subject.contact_ids))
        writer = ContactWriter(tx, self._system_events, self._numbers, now_us, "erase")
        await writer.remove(held)
        counts = {
            "contacts": 1,
            "identifiers": len(aliases),
            "merges": merges,
            "topics": len(memberships.topics) + (memberships.opted_out_us is not None),
            "audiences": len(memberships.audiences),
        }
        return added({}, counts)

    async def get(self, project_id: int, erasure_id: str) -> Erasure | None:
        """One erasure, None when the project has no such erasure."""
        row = await self._database.read(lambda tx: tx.row(_GET, erasure_id, project_id))
        return None if row is None else erasure(row)

    async def list(self, project_id: int, *, before: int | None, limit: int) -> Sequence[Erasure]:
        """Erasures of a project, newest first, numbered below `before`."""
        place = _AFTER_ALL if before is None else before
        rows = await self._database.read(lambda tx: tx.rows(LIST, project_id, place, limit))
        return [erasure(row) for row in rows]

    async def unfinished(self, limit: int) -> Sequence[Erasure]:
        """Erasures of all projects that are not done, oldest first."""
        rows = await self._database.read(lambda tx: tx.rows(UNFINISHED, limit))
        return [erasure(row) for row in rows]

    async def advance(self, erasure_id: str, limit: int, now_us: int) -> bool:
        """Forget the next slice, up to `limit` events; whether it is still running."""
        return await self._database.write(lambda tx: self._advance(tx, erasure_id, limit, now_us))

    async def _advance(self, tx: Transaction, erasure_id: str, limit: int, now_us: int) -> bool:
        place: Any = await tx.row(_PLACE, erasure_id)
        if place is None:
            return False
        _, text, counts, created_us = place
        subject = read_subject(text)
        held = msgspec.json.decode(counts, type=dict[str, int])
        erased = await self._person_events.erase(tx, subject, limit)
        goes_on = erased is not None or now_us - created_us < SETTLE_US
        if erased is not None:
            held = added(held, erased)
        elif not goes_on:
            held = added(held, await erase_mentions(tx, subject))
        status = ErasureStatus.RUNNING if goes_on else ErasureStatus.WIPING
        await tx.run(_MOVE, _text(held), status.value, erasure_id)
        return goes_on

    async def wipe(self, now_us: int) -> bool:
        """Overwrite what erasures that are `wiping` have left behind in files; they are done then.

        Returns:
            False when somebody still reads what is to be overwritten: ask again later.
        """
        if not await self._files.wipe():
            return False
        await self._database.write(lambda tx: tx.run(DONE, now_us))
        return True


async def _ids_by_merges(tx: Transaction, project_id: int, contact_id: str) -> list[str]:
    """The id of a deleted contact, and of all that it was one with by merges in force.

    Its aliases went with it; the merges are what still tells.
    """
    found = {contact_id}
    new = [contact_id]
    while new and len(found) <= ALIASES_MAX:
        rows = await tx.rows(MERGED_WITH, project_id, new)
        new = sorted({each for row in rows for each in row} - found)
        found.update(new)
    return sorted(found)


def _text(counts: dict[str, int]) -> str:
    return msgspec.json.encode(counts).decode()
