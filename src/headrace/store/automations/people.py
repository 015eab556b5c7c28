"""Contacts of events and runs, and their open runs, as one transaction has read them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import msgspec

from headrace.domain.contacts.contact import Contact
from headrace.domain.events.identity import contact_lane
from headrace.store.contacts.contact_rows import COLUMNS as CONTACT
from headrace.store.contacts.contact_rows import contact as contact_of
from headrace.store.contacts.contact_writes import by_id
from headrace.store.contacts.identifiers import ids_of
from headrace.store.contract.automations import RunRow
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Transaction

#: Open runs of one contact that one event is applied to.
OPEN_RUNS_READ_MAX = 10_000

CONTACTS = sql(
    f"SELECT {', '.join(f'c.{name}' for name in CONTACT.split(', '))} "
    "FROM unnest($1::smallint[], $2::text[], $3::int[]) AS k (lane, id, project_id) "
    "JOIN contacts c ON c.lane = k.lane AND c.id = k.id AND c.project_id = k.project_id"
)
MERGED_IDS = sql(
    "SELECT contact_id, value FROM contact_identifiers "
    "WHERE contact_id = ANY($1::text[]) AND alias AND kind = 'contact_id'"
)
OPEN_OF_CONTACT = sql(
    "SELECT contact_id, started_us, id, automation_id, version, entry_key FROM automation_runs "
    "WHERE contact_id = ANY($1::text[]) AND due_us IS NOT NULL LIMIT $2"
)


class OpenRun(msgspec.Struct, frozen=True):
    """An open run of a contact, as it was when the event was read."""

    contact_id: str
    started_us: int
    id: str
    automation_id: str
    version: int
    entry_key: str


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """The contact of an event or run now, and all ids that lead to it."""

    #: None: it was deleted, or there never was one.
    contact: Contact | None
    ids: tuple[str, ...]


class People:
    """Contacts and their open runs in one transaction; what was read is kept until it changes."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._people: dict[tuple[int, str], Person] = {}
        #: By the id of the contact that the run began with, then by the run's.
        self._open: dict[str, dict[str, OpenRun]] = {}

    async def read(self, project_and_contact: Iterable[tuple[int, str | None]]) -> None:
        """Read many contacts with two statements; `person` then returns them.

        Those that were merged into another or deleted are left to `person`.
        """
        wanted = {(project_id, each) for project_id, each in project_and_contact if each}
        keys = sorted((contact_lane(*key), key[1], key[0]) for key in wanted - set(self._people))
        if not keys:
            return
        found = [contact_of(row) for row in await self._tx.rows(CONTACTS, *columns_of(keys, 3))]
        merged = defaultdict[str, list[str]](list)
        for contact_id, other in await self._tx.rows(MERGED_IDS, [each.id for each in found]):
            merged[contact_id].append(other)
        for contact in found:
            ids = (contact.id, *sorted(merged[contact.id]))
            self._people[contact.project_id, contact.id] = Person(contact=contact, ids=ids)

    async def person(self, project_id: int, contact_id: str | None) -> Person:
        """The contact of that id now, and all ids that lead to it."""
        if contact_id is None:
            return Person(contact=None, ids=())
        found = self._people.get((project_id, contact_id))
        if found is None:
            contact = await by_id(self._tx, project_id, contact_id)
            ids = (contact_id,) if contact is None else await ids_of(self._tx, contact.id)
            found = self._people[project_id, contact_id] = Person(contact=contact, ids=tuple(ids))
        return found

    def forget(self, contact_id: str) -> None:
        """Read a contact again: it may have changed."""
        for key, person in list(self._people.items()):
            if person.contact is not None and person.contact.id == contact_id:
                del self._people[key]

    async def read_open_runs(self, people: Iterable[Person]) -> None:
        """Read the open runs of many contacts with one statement, for `open_runs`."""
        ids = sorted({each for person in people for each in person.ids} - set(self._open))
        if ids:
            await self._read_open(ids)

    async def open_runs(self, person: Person) -> list[OpenRun]:
        """Open runs of a contact, oldest first."""
        missing = [each for each in person.ids if each not in self._open]
        found = await self._read_open(missing) if missing else []
        kept = (run for each in person.ids for run in self._open.get(each, {}).values())
        runs = {run.id: run for run in (*found, *kept)}
        return sorted(runs.values(), key=lambda run: (run.started_us, run.id))

    async def _read_open(self, contact_ids: list[str]) -> list[OpenRun]:
        rows = await self._tx.rows(OPEN_OF_CONTACT, contact_ids, OPEN_RUNS_READ_MAX)
        found = [OpenRun(*row) for row in rows]
        # There may be more, so the next event reads them again.
        if len(found) < OPEN_RUNS_READ_MAX:
            self._open |= {each: {} for each in contact_ids}
            for run in found:
                self._open[run.contact_id][run.id] = run
        return found

    def stored(self, row: RunRow) -> None:
        """Keep the open runs current: a run was stored."""
        runs = self._open.get(row.contact_id)
        if runs is None:
            return
        if row.due_us is None:
            runs.pop(row.id, None)
        else:
            runs[row.id] = OpenRun(
                *(row.contact_id, row.started_us, row.id),
                *(row.automation_id, row.version, row.entry_key),
            )
