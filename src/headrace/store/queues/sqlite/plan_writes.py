"""Write the decisions about a batch of events; runs inside the caller's transaction."""

from __future__ import annotations

from typing import Any

import apsw

from headrace.domain.events.event import Status
from headrace.domain.events.identity import contact_lane
from headrace.domain.ids import new_uuid, uuid_text
from headrace.store.automations.inbox import add_to_inbox
from headrace.store.contacts.identifiers import (
    identifier,
    identifiers_claimed,
    identifiers_released,
)
from headrace.store.contacts.merging.pair_rows import pairs_found
from headrace.store.contract.processing import BatchPlan, ContactChanged, ContactCreated
from headrace.store.engine.sqlite.bulk import BulkInsert
from headrace.store.engine.sqlite.transaction import SqliteTransaction
from headrace.store.engine.transaction import drive
from headrace.store.queues.sqlite.parts import PART_OF_EVENT
from headrace.store.queues.sqlite.system_events import insert_system_events

_CONTACTS = BulkInsert(
    "INSERT INTO contacts (lane, id, project_id, external_id, email, email_original, created_us, "
    "updated_us, external_id_us, email_us, properties, property_times)",
    12,
)
_IDENTIFIERS = BulkInsert(
    "INSERT INTO contact_identifiers (lane, project_id, kind, value, contact_id)", 5
)
_DELIVERIES = BulkInsert(
    "INSERT INTO deliveries (lane, id, project_id, sequence, subscriber_id, due_us, created_us)", 7
)
_CHANGE = (
    "UPDATE contacts SET external_id = ?, external_id_us = ?, email = ?, email_original = ?, "
    "email_us = ?, updated_us = CASE WHEN ? THEN max(updated_us, ?) ELSE updated_us END "
    "WHERE id = ? AND project_id = ?"
)
_KEY = "lane = ? AND project_id = ? AND kind = ? AND value = ?"
_RELEASE = f"DELETE FROM contact_identifiers WHERE {_KEY} AND contact_id = ?"
# An alias that becomes the contact's own identifier is no longer an alias.
_OWN = f"UPDATE contact_identifiers SET alias = 0 WHERE {_KEY} AND contact_id = ? AND alias"
_WRITE = (
    "UPDATE contacts SET properties = ?, property_times = ?, "
    "updated_us = CASE WHEN ? THEN max(updated_us, ?) ELSE updated_us END "
    "WHERE id = ? AND project_id = ?"
)
_PAIR = (
    "INSERT INTO conflict_pairs (id, project_id, low_id, high_id, contact_id, other_contact_id, "
    "events, external_id_count, email_count, last_event_id, first_us, last_us) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (low_id, high_id) DO UPDATE SET "
    "contact_id = excluded.contact_id, other_contact_id = excluded.other_contact_id, "
    "events = events + excluded.events, "
    "external_id_count = external_id_count + excluded.external_id_count, "
    "email_count = email_count + excluded.email_count, "
    "last_event_id = excluded.last_event_id, last_us = max(last_us, excluded.last_us)"
)
_MARK = (
    f"UPDATE events SET status = {Status.PROCESSED:d}, attempts = ?, resolved_contact_id = ?, "
    f"resolution = ?, processed_us = ?, last_error = NULL, part = {PART_OF_EVENT} "
    "WHERE sequence = ?"
)


def write_plan(connection: apsw.Connection, plan: BatchPlan, now_us: int) -> None:
    """Write contacts, conflicts, deliveries, system events, the inbox and the events' states."""
    _write_contacts(connection, plan, now_us)
    _write_conflicts(connection, plan, now_us)
    deliveries = [
        (d.lane, d.id, d.project_id, d.sequence, d.subscriber_id, now_us, now_us)
        for d in plan.deliveries
    ]
    _DELIVERIES.run(connection, deliveries)
    insert_system_events(connection, plan.system_events, now_us)
    drive(add_to_inbox(SqliteTransaction(connection), plan.inbox, now_us))
    connection.executemany(
        _MARK,
        [(d.attempt, d.contact_id, d.resolution, now_us, d.sequence) for d in plan.done],
    )


def _write_contacts(connection: apsw.Connection, plan: BatchPlan, now_us: int) -> None:
    _CONTACTS.run(connection, [_created_row(c, now_us) for c in plan.contacts_created.values()])
    changed = plan.contacts_changed.values()
    connection.executemany(_CHANGE, [_changed_row(each, now_us) for each in changed])
    released = [(*key, contact_id) for key, contact_id in identifiers_released(changed)]
    connection.executemany(_RELEASE, released)
    _claim(connection, plan)
    connection.executemany(
        _WRITE,
        [
            (
                c.values.properties_text(),
                c.values.times_text(),
                c.changed,
                now_us,
                c.id,
                c.project_id,
            )
            for c in plan.contacts_written.values()
        ],
    )


def _claim(connection: apsw.Connection, plan: BatchPlan) -> None:
    rows: list[tuple[Any, ...]] = []
    for project_id, kind, value, contact_id in identifiers_claimed(plan):
        row = (*identifier(project_id, kind, value), contact_id)
        if contact_id not in plan.contacts_created:
            connection.execute(_OWN, row)
            if connection.changes():
                continue
        rows.append(row)
    _IDENTIFIERS.run(connection, rows)


def _changed_row(one: ContactChanged, now_us: int) -> tuple[Any, ...]:
    after = one.after
    return (
        *(after.external_id, after.external_id_us),
        *(after.email, after.email_original, after.email_us),
        *(one.changed, now_us, after.id, one.project_id),
    )


def _created_row(c: ContactCreated, now_us: int) -> tuple[Any, ...]:
    return (
        contact_lane(c.project_id, c.id),
        c.id,
        c.project_id,
        c.external_id,
        c.email,
        c.email_original,
        now_us,
        now_us,
        c.external_id_us,
        c.email_us,
        "{}" if c.values is None else c.values.properties_text(),
        "{}" if c.values is None else c.values.times_text(),
    )


def _write_conflicts(connection: apsw.Connection, plan: BatchPlan, now_us: int) -> None:
    connection.executemany(
        "INSERT INTO contact_conflicts (project_id, sequence, contact_id, other_contact_id, field, "
        "at_us) VALUES (?, ?, ?, ?, ?, ?)",
        [
            (c.project_id, c.sequence, c.contact_id, c.other_contact_id, c.field, now_us)
            for c in plan.conflicts
        ],
    )
    connection.executemany(
        _PAIR,
        [(uuid_text(new_uuid()), *pair, now_us, now_us) for pair in pairs_found(plan.conflicts)],
    )
