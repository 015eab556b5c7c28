"""The steps of merging and undoing; in the caller's transaction."""

from __future__ import annotations

import msgspec

from headrace.domain.contacts.contact import (
    CONTACT_CREATED,
    CONTACT_DELETED,
    CONTACT_UPDATED,
    Changed,
    Contact,
    differences,
    event_payload,
)
from headrace.domain.contacts.merging import MERGE_SOURCE, UNDO_SOURCE, merged, separated
from headrace.domain.events.identity import IdentityType, contact_lane
from headrace.domain.ids import new_uuid, uuid_text
from headrace.store.access.audit import write_audit
from headrace.store.contacts.contact_writes import ContactWriter, by_id
from headrace.store.contacts.groups.memberships import (
    detach_memberships,
    read_memberships,
    replace_memberships,
)
from headrace.store.contacts.identifiers import (
    aliases_of,
    ids_of,
    lead_back,
    lead_to,
    own_aliases,
    owner_of,
)
from headrace.store.contacts.merge_rows import (
    COLUMNS,
    Memberships,
    Side,
    Snapshot,
    Undoable,
    merged_memberships,
    separated_memberships,
    undoable,
)
from headrace.store.contacts.races import ContactRaceError
from headrace.store.contacts.refs import ContactRef, find_ref
from headrace.store.contract.merges import (
    ALIASES_MAX,
    EVENTS_COUNTED_MAX,
    MergePreview,
    MergeRejectedError,
    MergeRejection,
)
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Transaction

EVENTS = sql(
    "SELECT count(*) FROM (SELECT 1 FROM unnest($2::text[]) AS k (id) "
    "JOIN event_states o ON o.project_id = $1 AND o.contact_id = k.id "
    f"LIMIT {EVENTS_COUNTED_MAX}) AS counted",
    # SQLite keeps the state of an event in the event's own row.
    sqlite="SELECT count(*) FROM (SELECT 1 FROM json_each(?2) j CROSS JOIN event_parts p "
    "CROSS JOIN events e ON e.part = p.part AND e.project_id = ?1 "
    "AND e.resolved_contact_id = j.value AND e.resolved_contact_id IS NOT NULL "
    f"LIMIT {EVENTS_COUNTED_MAX})",
)
RESOLVE = sql(
    "UPDATE conflict_pairs SET resolved_by = $2 WHERE low_id = ANY($1::text[]) "
    "AND high_id = ANY($1::text[]) AND resolved_by IS NULL"
)
UNRESOLVE = sql("UPDATE conflict_pairs SET resolved_by = NULL WHERE resolved_by = $1")
_INSERT = sql(
    "INSERT INTO merges (id, project_id, contact_id, other_contact_id, actor, created_us, "
    "snapshot) VALUES ($1, $2, $3, $4, $5, $6, $7)"
)
_UNDOABLE = sql(
    f"SELECT {COLUMNS}, snapshot FROM merges WHERE id = $1 AND project_id = $2 FOR UPDATE"
)
_UNDONE = sql("UPDATE merges SET undone_us = $1, undone_by = $2, snapshot = NULL WHERE id = $3")
# A later merge that is in force and builds on this one.
LATER = sql(
    "SELECT 1 FROM merges WHERE number > $1 AND undone_us IS NULL AND contact_id = $2 "
    "AND snapshot IS NOT NULL UNION ALL SELECT 1 FROM merges WHERE number > $1 "
    "AND undone_us IS NULL AND other_contact_id = $2 AND snapshot IS NOT NULL LIMIT 1"
)


async def preview(tx: Transaction, project_id: int, contact_id: str, other_id: str) -> MergePreview:
    """See `headrace.store.contacts.merging.merges.Merges.preview`."""
    own, other = await _two(tx, project_id, contact_id, other_id, lock=False)
    result = merged(own.contact, other.contact, own.contact.updated_us)
    held = await aliases_of(tx, other.contact.id)
    await _reject_many(tx, own.contact, len(held) + len(result.aliases))
    ids = await ids_of(tx, other.contact.id)
    chosen = {choice.topic_id for choice in own.memberships.topics}
    joining = other.memberships.audiences.keys() - own.memberships.audiences.keys()
    return MergePreview(
        contact=result.contact,
        other=other.contact,
        changes=differences(own.contact, result.contact),
        aliases=(*result.aliases, *held),
        events=await tx.value(EVENTS, project_id, ids),
        topics=sum(each.topic_id not in chosen for each in other.memberships.topics),
        audiences=len(joining),
    )


async def _two(
    tx: Transaction, project_id: int, contact_id: str, other_id: str, *, lock: bool
) -> tuple[Side, Side]:
    ids = []
    for each in (contact_id, other_id):
        found = await by_id(tx, project_id, each)
        if found is None:
            raise MergeRejectedError(MergeRejection.NOT_FOUND)
        ids.append(found.id)
    if ids[0] == ids[1]:
        raise MergeRejectedError(MergeRejection.SAME_CONTACT)
    held: dict[str, Contact] = {}
    # In the order in which all writers lock contacts.
    for each in sorted(ids, key=lambda each: (contact_lane(project_id, each), each)):
        locked = await by_id(tx, project_id, each, lock=lock)
        if locked is None or locked.id != each:
            # Deleted or merged while this waited for the lock: the next attempt finds out which.
            raise ContactRaceError
        held[each] = locked
    return await _side(tx, held[ids[0]]), await _side(tx, held[ids[1]])


async def _side(tx: Transaction, contact: Contact) -> Side:
    ref = await _ref(tx, contact)
    return Side(contact=contact, number=ref.number, memberships=await read_memberships(tx, ref))


async def _ref(tx: Transaction, contact: Contact) -> ContactRef:
    ref = await find_ref(tx, contact.project_id, contact.id)
    assert ref is not None
    return ref


async def _reject_many(tx: Transaction, own: Contact, more: int) -> None:
    if len(await aliases_of(tx, own.id)) + more > ALIASES_MAX:
        raise MergeRejectedError(MergeRejection.TOO_MANY_ALIASES)


class MergeSteps:
    """Merges and undoings inside one transaction."""

    def __init__(self, writer: ContactWriter, actor: str) -> None:
        self._writer = writer
        self._tx = writer.tx
        self._now_us = writer.now_us
        self._actor = actor

    async def merge(self, project_id: int, contact_id: str, other_id: str) -> str:
        """Merge, with events and the data for undoing; returns the id of the merge.

        1. Remove the other with its memberships; 2. redirect its identifiers to the survivor, or
        make them its own; 3. give the survivor its properties and memberships; 4. resolve pairs
        that are one contact now.
        """
        tx = self._tx
        own, other = await _two(tx, project_id, contact_id, other_id, lock=True)
        result = merged(own.contact, other.contact, self._now_us)
        held = await aliases_of(tx, other.contact.id)
        await _reject_many(tx, own.contact, len(held) + len(result.aliases))
        merge_id = uuid_text(new_uuid())
        everybody = [*await ids_of(tx, own.contact.id), *await ids_of(tx, other.contact.id)]
        await self._drop_other(own.contact, other.contact)
        await lead_to(tx, other.contact, own.contact.id)
        await self._change(own.contact, result.contact, MERGE_SOURCE, merged_from=other.contact.id)
        ref = await _ref(tx, result.contact)
        both = merged_memberships(own.memberships, other.memberships, self._now_us)
        await self._replace(ref, both)
        await tx.run(RESOLVE, everybody, merge_id)
        snapshot = Snapshot(
            own=own,
            other=other,
            after=result.contact,
            after_memberships=await read_memberships(tx, ref),
            aliases=held,
        )
        await self._record(merge_id, snapshot)
        return merge_id

    async def _drop_other(self, own: Contact, other: Contact) -> None:
        ref = await _ref(self._tx, other)
        await detach_memberships(self._tx, self._writer.system_events, ref, self._now_us)
        await self._writer.delete_row(other)
        payload = event_payload(other, MERGE_SOURCE, {}, merged_into=own.id)
        await self._writer.emit(CONTACT_DELETED, Changed(other, {}), payload)

    async def _change(self, before: Contact, after: Contact, source: str, **others: str) -> None:
        await self._writer.replace(before, after)
        changes = differences(before, after)
        if changes:
            payload = event_payload(after, source, changes, **others)
            await self._writer.emit(CONTACT_UPDATED, Changed(after, changes), payload)

    async def _replace(
        self, ref: ContactRef, memberships: Memberships, *, emit_topics: bool = True
    ) -> None:
        events = self._writer.system_events
        await replace_memberships(
            self._tx, events, ref, memberships, self._now_us, emit_topics=emit_topics
        )

    async def _record(self, merge_id: str, snapshot: Snapshot) -> None:
        own, other = snapshot.own.contact, snapshot.other.contact
        text = msgspec.json.encode(snapshot).decode()
        values = (merge_id, own.project_id, own.id, other.id, self._actor, self._now_us, text)
        await self._tx.run(_INSERT, *values)
        await self._audit("contact.merge", merge_id, own, other)

    async def _audit(self, action: str, merge_id: str, own: Contact, other: Contact) -> None:
        detail = {"merge": merge_id, "contact": own.id, "from": other.id}
        await write_audit(self._tx, self._now_us, self._actor, own.project_id, action, detail)

    async def undo(self, project_id: int, merge_id: str) -> None:
        """Undo a merge, with events. The steps of `merge` in reverse."""
        tx = self._tx
        found = await self._undoable(project_id, merge_id)
        snapshot = found.snapshot
        current = None
        if snapshot is not None:
            current = await by_id(tx, project_id, snapshot.own.contact.id, lock=True)
        if snapshot is None or current is None or current.id != snapshot.own.contact.id:
            raise MergeRejectedError(MergeRejection.CONTACT_GONE)
        other = snapshot.other.contact
        own = separated(current, snapshot.own.contact, snapshot.after, other)
        await self._reject_taken(current, own, other)
        ref = await _ref(tx, current)
        held = await read_memberships(tx, ref)
        parted = separated_memberships(held, snapshot.own.memberships, snapshot.after_memberships)
        await self._change(current, own, UNDO_SOURCE, parted_from=other.id)
        await lead_back(tx, other, snapshot.aliases, own.id)
        await self._replace(ref, parted)
        await self._bring_back(snapshot.other)
        await tx.run(UNRESOLVE, merge_id)
        await tx.run(_UNDONE, self._now_us, self._actor, merge_id)
        await self._audit("contact.merge_undo", merge_id, own, other)

    async def _undoable(self, project_id: int, merge_id: str) -> Undoable:
        row = await self._tx.row(_UNDOABLE, merge_id, project_id)
        if row is None:
            raise MergeRejectedError(MergeRejection.NO_SUCH_MERGE)
        found = undoable(tuple(row))
        if found.merge.undone_us is not None:
            raise MergeRejectedError(MergeRejection.UNDONE_BEFORE)
        later = (found.merge.number, found.merge.contact_id)
        if found.snapshot is not None and await self._tx.value(LATER, *later) is not None:
            raise MergeRejectedError(MergeRejection.NOT_THE_LAST)
        return found

    async def _reject_taken(self, current: Contact, own: Contact, other: Contact) -> None:
        for kind, value in (*own_aliases(own), *own_aliases(other)):
            holder = await owner_of(self._tx, own.project_id, IdentityType(kind), value)
            if holder is not None and holder != current.id:
                raise MergeRejectedError(MergeRejection.IDENTIFIER_TAKEN)

    async def _bring_back(self, side: Side) -> None:
        await self._writer.insert(side.contact, side.number)
        payload = event_payload(side.contact, UNDO_SOURCE, {})
        await self._writer.emit(CONTACT_CREATED, Changed(side.contact, {}), payload)
        ref = await _ref(self._tx, side.contact)
        await self._replace(ref, side.memberships, emit_topics=False)
