"""Contacts found by any identifier, and written with their system events.

Two tables hold a contact: its row, and a row for each identifier that leads to it, in the lane of
that identity. All writers lock the contact first and its identifiers after, so the second of two
concurrent writers waits and then finds what the first has written.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET

from headrace.domain.contacts.contact import (
    CONTACT_CREATED,
    CONTACT_DELETED,
    CONTACT_UPDATED,
    IDENTIFIERS,
    Changed,
    Contact,
    ContactWrite,
    apply,
    clash,
    differences,
    event_payload,
    new_contact,
)
from headrace.domain.errors import ApiError
from headrace.domain.events.identity import IdentityType, contact_lane
from headrace.domain.ids import new_uuid, uuid_text
from headrace.store.contacts import identifiers
from headrace.store.contacts.contact_rows import COLUMNS, WRITTEN, contact, row, written
from headrace.store.contacts.groups.memberships import detach_memberships
from headrace.store.contacts.races import ContactRaceError
from headrace.store.contacts.refs import find_ref
from headrace.store.contract.contacts import Upserted, UpsertOutcome
from headrace.store.contract.errors import StoreConflictError
from headrace.store.contract.processing import SystemEvent
from headrace.store.engine.dialect import sql
from headrace.store.engine.numbers import RowNumbers
from headrace.store.engine.system_events import SystemEvents
from headrace.store.engine.transaction import Transaction

_BY_ID_TEXT = f"SELECT {COLUMNS} FROM contacts WHERE lane = $1 AND id = $2 AND project_id = $3"
BY_ID = sql(_BY_ID_TEXT)
_LOCK_BY_ID = sql(f"{_BY_ID_TEXT} FOR UPDATE")
_INSERT = sql(
    f"INSERT INTO contacts (lane, number, {COLUMNS}) "
    f"VALUES ({', '.join(f'${n}' for n in range(1, 14))})"
)
_UPDATE = sql(
    f"UPDATE contacts SET {', '.join(f'{name} = ${n}' for n, name in enumerate(WRITTEN, 3))} "
    "WHERE lane = $1 AND id = $2"
)
_DELETE = sql("DELETE FROM contacts WHERE lane = $1 AND id = $2")
# Conflicts of the contact, or of one that was merged into it, with another one.
FORGET = tuple(
    sql(text)
    for text in (
        "DELETE FROM conflict_pairs WHERE low_id = ANY($1::text[])",
        "DELETE FROM conflict_pairs WHERE high_id = ANY($1::text[])",
    )
)
# Messages that wait to be sent to it. An attempt that may have reached the relay stays unknown, and
# a push that one of several devices has got stays sent.
CANCEL_MESSAGES = sql(
    "UPDATE messages SET "
    "state = CASE WHEN state IN ('unknown', 'sent') THEN state ELSE 'cancelled' END, "
    "finished_us = CASE WHEN state = 'unknown' THEN finished_us "
    "ELSE coalesce(finished_us, $2) END, "
    "reason = CASE WHEN state = 'sent' THEN reason ELSE 'contact_deleted' END, due_us = NULL "
    "WHERE contact_id = ANY($1::text[]) AND due_us IS NOT NULL"
)
# Their pushes to devices. What a worker is sending ends with its attempt.
CANCEL_NOTIFICATIONS = sql(
    "UPDATE push_notifications SET state = 'cancelled', reason = 'contact_deleted', "
    "finished_us = $2 WHERE contact_id = ANY($1::text[]) AND contact_id IS NOT NULL "
    "AND state IN ('queued', 'deferred')"
)
# Its open runs end as soon as the runner looks at them.
WAKE_RUNS = sql(
    "UPDATE automation_runs SET due_us = $2 WHERE contact_id = ANY($1::text[]) "
    "AND due_us IS NOT NULL"
)
# Merges that led to the contact, also indirectly: they can no longer be undone.
FORGET_SNAPSHOTS = sql(
    "UPDATE merges SET snapshot = NULL "
    "WHERE contact_id = ANY($1::text[]) OR other_contact_id = ANY($1::text[])"
)


async def by_id(
    tx: Transaction, project_id: int, contact_id: str, *, lock: bool = False
) -> Contact | None:
    """The contact of an id, or the one it was merged into.

    Args:
        lock: whether to lock it until the transaction ends.
    """
    found = await _one(tx, project_id, contact_id, lock=lock)
    if found is not None:
        return found
    return await _by_owner(tx, project_id, IdentityType.CONTACT_ID, contact_id, lock=lock)


async def by_write(tx: Transaction, project_id: int, write: ContactWrite) -> Contact | None:
    """The locked contact of an upsert: by its first identifier, or the one that it joins."""
    field = _deciding_field(write)
    if field is None:
        return None
    kind, value = IdentityType(field), getattr(write, field)
    found = await _by_owner(tx, project_id, kind, value, lock=True)
    if found is None and kind is IdentityType.EXTERNAL_ID and isinstance(write.email, str):
        found = await _by_owner(tx, project_id, IdentityType.EMAIL, write.email, lock=True)
        return found if found is not None and write.joins(found) else None
    return found


def _deciding_field(write: ContactWrite) -> str | None:
    """The field by which an upsert finds its contact: the first identifier given, and alone."""
    return next((field for field in IDENTIFIERS if isinstance(getattr(write, field), str)), None)


async def _one(tx: Transaction, project_id: int, contact_id: str, *, lock: bool) -> Contact | None:
    statement = _LOCK_BY_ID if lock else BY_ID
    found = await tx.row(statement, contact_lane(project_id, contact_id), contact_id, project_id)
    return None if found is None else contact(found)


async def _by_owner(
    tx: Transaction, project_id: int, kind: IdentityType, value: str, *, lock: bool
) -> Contact | None:
    owner = await identifiers.owner_of(tx, project_id, kind, value)
    if owner is None:
        return None
    found = await _one(tx, project_id, owner, lock=lock)
    if lock and getattr(found, kind, None) != value:
        # Possibly an alias; or the contact released the identifier while this waited for the lock.
        now = await identifiers.owner_of(tx, project_id, kind, value)
        if found is None or now != owner:
            raise ContactRaceError
    return found


class ContactWriter:
    """Writes of contacts inside one transaction, each with its system event.

    Args:
        source: the writer, as recorded in the events.
    """

    def __init__(
        self,
        tx: Transaction,
        system_events: SystemEvents,
        numbers: RowNumbers,
        now_us: int,
        source: str,
    ) -> None:
        self.tx = tx
        self.system_events = system_events
        self.now_us = now_us
        self._numbers = numbers
        self._source = source

    async def outcome(self, project_id: int, write: ContactWrite) -> UpsertOutcome:
        """Upsert a contact; a rejection is returned, and then nothing was written."""
        try:
            return await self.upsert(project_id, write)
        except StoreConflictError as error:
            # Both are raised before anything is written, so the transaction continues.
            return clash(error.args)
        except ApiError as error:
            return error

    async def upsert(self, project_id: int, write: ContactWrite) -> Upserted:
        """Write to the matching contact, or create one."""
        found = await by_write(self.tx, project_id, write)
        try:
            if found is None:
                created = await self.create(project_id, write)
                return Upserted(created, created=True, changed=True)
            after = await self.update(found, await self._without_aliases(found, write))
        except StoreConflictError as error:
            if _deciding_field(write) in error.args:
                # The identifier was free a moment ago: another writer has just created the contact.
                raise ContactRaceError from None
            raise
        return Upserted(after, created=False, changed=bool(differences(found, after)))

    async def _without_aliases(self, found: Contact, write: ContactWrite) -> ContactWrite:
        """The write without aliases of the contact, so that it keeps its own identifiers."""
        for field in IDENTIFIERS:
            value, own = getattr(write, field), getattr(found, field)
            if not isinstance(value, str) or own is None or value == own:
                continue
            kind = IdentityType(field)
            if await identifiers.owner_of(self.tx, found.project_id, kind, value) == found.id:
                left = {"email_original": None} if kind == IdentityType.EMAIL else {}
                write = msgspec.structs.replace(write, **{field: UNSET}, **left)
        return write

    async def create(
        self, project_id: int, write: ContactWrite, *, looked_up: bool = False
    ) -> Contact:
        """Create a contact.

        Args:
            looked_up: whether the caller has found in this transaction that no contact has the
                identifiers.

        Raises:
            StoreConflictError: naming the fields that belong to another contact.
            ContactRaceError: another writer has taken an identifier.
        """
        if not looked_up:
            await self._reject_conflict(project_id, write, None)
        created = new_contact(uuid_text(new_uuid()), project_id, write, self.now_us)
        await self.insert(created)
        await self._emit(CONTACT_CREATED, Changed(created, {}))
        return created

    async def update(self, held: Contact, write: ContactWrite) -> Contact:
        """Write to a locked contact; returns the new state.

        Raises:
            StoreConflictError: naming the fields that belong to another contact.
        """
        await self._reject_conflict(held.project_id, write, held.id)
        changed = apply(held, write, self.now_us)
        if changed.contact != held:
            # Possibly only later times for the same values.
            await self.replace(held, changed.contact)
        if changed.changes:
            await self._emit(CONTACT_UPDATED, changed)
        return changed.contact

    async def insert(self, new: Contact, number: int | None = None) -> None:
        """Insert a contact, at its former position in lists if it had one.

        Raises:
            ContactRaceError: another writer has taken an identifier.
        """
        place = self._numbers.number() if number is None else number
        await self.tx.run(_INSERT, contact_lane(new.project_id, new.id), place, *row(new))
        await identifiers.claim(self.tx, new.id, identifiers.own_identifiers(new))

    async def replace(self, before: Contact, after: Contact) -> None:
        """Write the changeable columns of a locked contact.

        Raises:
            ContactRaceError: another writer has taken an identifier.
        """
        lane = contact_lane(after.project_id, after.id)
        await self.tx.run(_UPDATE, lane, after.id, *written(after))
        had, has = identifiers.own_identifiers(before), identifiers.own_identifiers(after)
        await identifiers.change(self.tx, after.id, had, has)

    async def remove(self, held: Contact) -> None:
        """Remove a locked contact and what belongs only to it; its events stay."""
        ref = await find_ref(self.tx, held.project_id, held.id)
        assert ref is not None
        await detach_memberships(self.tx, self.system_events, ref, self.now_us)
        await identifiers.release(self.tx, held.id, identifiers.own_identifiers(held))
        ids = await identifiers.ids_of(self.tx, held.id)
        await self.tx.run(CANCEL_MESSAGES, ids, self.now_us)
        await self.tx.run(CANCEL_NOTIFICATIONS, ids, self.now_us)
        await self.tx.run(WAKE_RUNS, ids, self.now_us)
        for statement in (FORGET_SNAPSHOTS, *FORGET):
            await self.tx.run(statement, ids)
        await self.tx.run(identifiers.REMOVE_ALIASES, held.id)
        await self.delete_row(held)
        await self._emit(CONTACT_DELETED, Changed(held, {}))

    async def delete_row(self, held: Contact) -> None:
        """Delete only the row of a contact, not what refers to it."""
        await self.tx.run(_DELETE, contact_lane(held.project_id, held.id), held.id)

    async def emit(self, name: str, changed: Changed, payload: str) -> None:
        """Insert the system event of a change."""
        about = changed.contact
        event = SystemEvent(about.project_id, name, about.id, payload, about.lane)
        await self.system_events.insert(self.tx, [event], self.now_us)

    async def _emit(self, name: str, changed: Changed) -> None:
        payload = event_payload(changed.contact, self._source, changed.changes)
        await self.emit(name, changed, payload)

    async def _reject_conflict(
        self, project_id: int, write: ContactWrite, own_id: str | None
    ) -> None:
        # Looked up first: a failed insert would name only one field.
        fields = []
        for field in IDENTIFIERS:
            value = getattr(write, field)
            if value is None or value is UNSET:
                continue
            holder = await identifiers.owner_of(self.tx, project_id, IdentityType(field), value)
            if holder is not None and holder != own_id:
                fields.append(field)
        if fields:
            raise StoreConflictError(*fields)
