"""SQL of a merge and of its undoing; each runs inside the caller's transaction."""

from __future__ import annotations

import json
from typing import Any

import apsw
import msgspec

from headrace.domain.contacts import (
    CONTACT_CREATED,
    CONTACT_DELETED,
    CONTACT_UPDATED,
    IDENTIFIERS,
    Changed,
    Contact,
    differences,
    event_payload,
)
from headrace.domain.ids import new_uuid, uuid_text
from headrace.domain.merging import MERGE_SOURCE, UNDO_SOURCE, merged, separated
from headrace.store.access.audit import write_audit
from headrace.store.contacts.memberships import (
    detach_memberships,
    read_memberships,
    replace_memberships,
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
from headrace.store.contacts.refs import ContactRef, find_ref
from headrace.store.contract_merges import (
    ALIASES_MAX,
    EVENTS_COUNTED_MAX,
    MergePreview,
    MergeRefusedError,
    Refusal,
)
from headrace.store.engine.transaction import drive
from headrace.store.sqlite import contact_rows
from headrace.store.sqlite.contact_refs import ids_of
from headrace.store.sqlite.system_events import SqliteSystemEvents
from headrace.store.sqlite.transaction import SqliteTransaction

_EMITTER = SqliteSystemEvents()
_ALIASES = "SELECT kind, value FROM contact_aliases WHERE contact_id = ? ORDER BY kind, value"
_LEAD = (
    "INSERT INTO contact_aliases (project_id, kind, value, contact_id) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (project_id, kind, value) DO UPDATE SET contact_id = excluded.contact_id"
)
_LEAD_ALL = "UPDATE contact_aliases SET contact_id = ? WHERE contact_id = ?"
_LEAD_BACK = (
    "UPDATE contact_aliases SET contact_id = ? "
    "WHERE project_id = ? AND kind = ? AND value = ? AND contact_id = ?"
)
_LEAD_NOWHERE = (
    "DELETE FROM contact_aliases WHERE project_id = ? AND kind = ? AND value = ? AND contact_id = ?"
)
EVENTS = (
    "SELECT count(*) FROM (SELECT 1 FROM json_each(?2) j CROSS JOIN events e "  # noqa: S608
    "ON e.project_id = ?1 AND e.resolved_contact_id = j.value "
    f"AND e.resolved_contact_id IS NOT NULL LIMIT {EVENTS_COUNTED_MAX})"
)
RESOLVE = (
    "UPDATE contact_pairs SET resolved_by = ?2 WHERE number IN (SELECT p.number "
    "FROM json_each(?1) l CROSS JOIN contact_pairs p ON p.low_id = l.value "
    "WHERE p.resolved_by IS NULL AND p.high_id IN (SELECT value FROM json_each(?1)))"
)
_INSERT = (
    "INSERT INTO merges (id, project_id, contact_id, other_contact_id, actor, created_us, "
    "snapshot) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_UNDOABLE = f"SELECT {COLUMNS}, snapshot FROM merges WHERE id = ? AND project_id = ?"  # noqa: S608
# A later merge that is in force and builds on this one.
_LATER = (
    "SELECT 1 FROM merges WHERE number > ?1 AND undone_us IS NULL AND contact_id = ?2 "
    "AND snapshot IS NOT NULL UNION ALL SELECT 1 FROM merges WHERE number > ?1 "
    "AND undone_us IS NULL AND other_contact_id = ?2 AND snapshot IS NOT NULL LIMIT 1"
)


def _two(
    connection: apsw.Connection, project_id: int, contact_id: str, other_id: str
) -> tuple[Side, Side]:
    own = contact_rows.by_id(connection, project_id, contact_id)
    other = contact_rows.by_id(connection, project_id, other_id)
    if own is None or other is None:
        raise MergeRefusedError(Refusal.NOT_FOUND)
    if own.id == other.id:
        raise MergeRefusedError(Refusal.SAME_CONTACT)
    return _side(connection, own), _side(connection, other)


def _side(connection: apsw.Connection, contact: Contact) -> Side:
    ref = _ref(connection, contact)
    return Side(contact=contact, number=ref.number, memberships=_memberships(connection, ref))


def _ref(connection: apsw.Connection, contact: Contact) -> ContactRef:
    tx = SqliteTransaction(connection)
    ref = drive(find_ref(tx, contact.project_id, contact.id))
    assert ref is not None
    return ref


def _memberships(connection: apsw.Connection, ref: ContactRef) -> Memberships:
    return drive(read_memberships(SqliteTransaction(connection), ref))


def _replace(
    connection: apsw.Connection,
    ref: ContactRef,
    memberships: Memberships,
    now_us: int,
    *,
    emit_topics: bool = True,
) -> None:
    tx = SqliteTransaction(connection)
    work = replace_memberships(tx, _EMITTER, ref, memberships, now_us, emit_topics=emit_topics)
    drive(work)


def _aliases(connection: apsw.Connection, contact_id: str) -> list[tuple[str, str]]:
    rows: Any = connection.execute(_ALIASES, (contact_id,))
    return [(kind, value) for kind, value in rows]


def preview(
    connection: apsw.Connection, project_id: int, contact_id: str, other_id: str
) -> MergePreview:
    """See `headrace.store.contract_merges.MergeStore.preview`."""
    own, other = _two(connection, project_id, contact_id, other_id)
    result = merged(own.contact, other.contact, own.contact.updated_us)
    held = _aliases(connection, other.contact.id)
    _refuse_many(connection, own, len(held) + len(result.aliases))
    ids = json.dumps(ids_of(connection, other.contact.id))
    events: Any = connection.execute(EVENTS, (project_id, ids)).fetchone()
    chosen = {choice.topic_id for choice in own.memberships.topics}
    joining = other.memberships.audiences.keys() - own.memberships.audiences.keys()
    return MergePreview(
        contact=result.contact,
        other=other.contact,
        changes=differences(own.contact, result.contact),
        aliases=(*result.aliases, *held),
        events=events[0],
        topics=sum(each.topic_id not in chosen for each in other.memberships.topics),
        audiences=len(joining),
    )


def _refuse_many(connection: apsw.Connection, own: Side, more: int) -> None:
    if len(_aliases(connection, own.contact.id)) + more > ALIASES_MAX:
        raise MergeRefusedError(Refusal.TOO_MANY_ALIASES)


def merge(
    connection: apsw.Connection,
    project_id: int,
    contact_id: str,
    other_id: str,
    now_us: int,
    actor: str,
) -> str:
    """Merge, tell of it and note how to undo it; returns the id of the merge.

    1. The other goes, with its memberships; 2. its identifiers lead to the survivor, or become its
    own; 3. the survivor gets its properties and memberships; 4. pairs that are one contact now are
    resolved.
    """
    own, other = _two(connection, project_id, contact_id, other_id)
    result = merged(own.contact, other.contact, now_us)
    held = _aliases(connection, other.contact.id)
    _refuse_many(connection, own, len(held) + len(result.aliases))
    merge_id = uuid_text(new_uuid())
    everybody = [*ids_of(connection, own.contact.id), *ids_of(connection, other.contact.id)]
    _drop_other(connection, own.contact, other.contact, now_us)
    connection.execute(_LEAD_ALL, (own.contact.id, other.contact.id))
    connection.executemany(
        _LEAD, [(project_id, kind, value, own.contact.id) for kind, value in result.aliases]
    )
    contact_rows.update(connection, result.contact)
    changes = differences(own.contact, result.contact)
    if changes:
        payload = event_payload(result.contact, MERGE_SOURCE, changes, merged_from=other.contact.id)
        changed = Changed(result.contact, changes)
        contact_rows.tell(connection, CONTACT_UPDATED, changed, now_us, payload)
    ref = _ref(connection, result.contact)
    both = merged_memberships(own.memberships, other.memberships, now_us)
    _replace(connection, ref, both, now_us)
    connection.execute(RESOLVE, (json.dumps(everybody), merge_id))
    snapshot = Snapshot(
        own=own,
        other=other,
        after=result.contact,
        after_memberships=_memberships(connection, ref),
        aliases=held,
    )
    _note(connection, merge_id, snapshot, now_us, actor)
    return merge_id


def _drop_other(connection: apsw.Connection, own: Contact, other: Contact, now_us: int) -> None:
    tx = SqliteTransaction(connection)
    drive(detach_memberships(tx, _EMITTER, _ref(connection, other), now_us))
    connection.execute("DELETE FROM contacts WHERE id = ?", (other.id,))
    payload = event_payload(other, MERGE_SOURCE, {}, merged_into=own.id)
    contact_rows.tell(connection, CONTACT_DELETED, Changed(other, {}), now_us, payload)


def _note(
    connection: apsw.Connection, merge_id: str, snapshot: Snapshot, now_us: int, actor: str
) -> None:
    own, other = snapshot.own.contact, snapshot.other.contact
    text = msgspec.json.encode(snapshot).decode()
    connection.execute(_INSERT, (merge_id, own.project_id, own.id, other.id, actor, now_us, text))
    detail = {"merge": merge_id, "contact": own.id, "from": other.id}
    drive(
        write_audit(
            SqliteTransaction(connection), now_us, actor, own.project_id, "contact.merge", detail
        )
    )


def undo(
    connection: apsw.Connection, project_id: int, merge_id: str, now_us: int, actor: str
) -> None:
    """Undo a merge, tell of it and note it. The steps of `merge`, backwards."""
    found = _undoable(connection, project_id, merge_id)
    snapshot = found.snapshot
    current = (
        None
        if snapshot is None
        else contact_rows.by_id(connection, project_id, snapshot.own.contact.id)
    )
    if snapshot is None or current is None or current.id != snapshot.own.contact.id:
        raise MergeRefusedError(Refusal.CONTACT_GONE)
    own = separated(current, snapshot.own.contact, snapshot.after, snapshot.other.contact)
    other = snapshot.other.contact
    _refuse_taken(connection, current, own, other)
    ref = _ref(connection, current)
    parted = separated_memberships(
        _memberships(connection, ref), snapshot.own.memberships, snapshot.after_memberships
    )
    _part_aliases(connection, own, snapshot)
    _change_survivor(connection, current, own, other, now_us)
    _replace(connection, ref, parted, now_us)
    _bring_back(connection, snapshot.other, now_us)
    connection.execute(
        "UPDATE contact_pairs SET resolved_by = NULL WHERE resolved_by = ?", (merge_id,)
    )
    connection.execute(
        "UPDATE merges SET undone_us = ?, undone_by = ?, snapshot = NULL WHERE id = ?",
        (now_us, actor, merge_id),
    )
    detail = {"merge": merge_id, "contact": own.id, "from": other.id}
    drive(
        write_audit(
            SqliteTransaction(connection), now_us, actor, project_id, "contact.merge_undo", detail
        )
    )


def _undoable(connection: apsw.Connection, project_id: int, merge_id: str) -> Undoable:
    row: Any = connection.execute(_UNDOABLE, (merge_id, project_id)).fetchone()
    if row is None:
        raise MergeRefusedError(Refusal.NO_SUCH_MERGE)
    found = undoable(row)
    if found.merge.undone_us is not None:
        raise MergeRefusedError(Refusal.UNDONE_BEFORE)
    later = (found.merge.number, found.merge.contact_id)
    if found.snapshot is not None and connection.execute(_LATER, later).fetchone():
        raise MergeRefusedError(Refusal.NOT_THE_LAST)
    return found


def _refuse_taken(
    connection: apsw.Connection, current: Contact, own: Contact, other: Contact
) -> None:
    for contact in (own, other):
        for field in IDENTIFIERS:
            value = getattr(contact, field)
            if value is None:
                continue
            holder = contact_rows.by_identifier(connection, own.project_id, field, value)
            if holder is not None and holder.id != current.id:
                raise MergeRefusedError(Refusal.IDENTIFIER_TAKEN)


def _part_aliases(connection: apsw.Connection, own: Contact, snapshot: Snapshot) -> None:
    other = snapshot.other.contact
    of_other = [("contact_id", other.id)]
    of_other += [(field, value) for field in IDENTIFIERS if (value := getattr(other, field))]
    connection.executemany(
        _LEAD_NOWHERE, [(own.project_id, kind, value, own.id) for kind, value in of_other]
    )
    connection.executemany(
        _LEAD_BACK,
        [(other.id, own.project_id, kind, value, own.id) for kind, value in snapshot.aliases],
    )


def _change_survivor(
    connection: apsw.Connection, current: Contact, own: Contact, other: Contact, now_us: int
) -> None:
    changes = differences(current, own)
    contact_rows.update(connection, own)
    if changes:
        payload = event_payload(own, UNDO_SOURCE, changes, parted_from=other.id)
        contact_rows.tell(connection, CONTACT_UPDATED, Changed(own, changes), now_us, payload)


def _bring_back(connection: apsw.Connection, side: Side, now_us: int) -> None:
    taken = connection.execute("SELECT 1 FROM contacts WHERE number = ?", (side.number,)).fetchone()
    # Only the newest contact's number can have been given to another one since.
    contact_rows.insert(connection, side.contact, None if taken else side.number)
    payload = event_payload(side.contact, UNDO_SOURCE, {})
    changed = Changed(side.contact, {})
    contact_rows.tell(connection, CONTACT_CREATED, changed, now_us, payload)
    ref = _ref(connection, side.contact)
    _replace(connection, ref, side.memberships, now_us, emit_topics=False)
