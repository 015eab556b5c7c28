"""Write what was decided about a batch of events; runs inside the caller's transaction."""

from __future__ import annotations

import apsw

from headrace.domain.events import Status
from headrace.store.contract_processing import BatchPlan
from headrace.store.sqlite.bulk import BulkInsert
from headrace.store.sqlite.system_events import insert_system_events

_CONTACTS = BulkInsert(
    "INSERT INTO contacts (id, project_id, external_id, email, email_original, created_us, "
    "updated_us)",
    7,
)
_DELIVERIES = BulkInsert(
    "INSERT INTO deliveries (id, project_id, sequence, subscriber_id, due_us, created_us)", 6
)
_FILL = (
    "UPDATE contacts SET external_id = coalesce(external_id, ?), email = coalesce(email, ?), "
    "email_original = coalesce(email_original, ?), updated_us = ? WHERE id = ? AND project_id = ?"
)
_MARK = (
    f"UPDATE events SET status = {Status.PROCESSED:d}, attempts = ?, resolved_contact_id = ?, "  # noqa: S608
    "resolution = ?, processed_us = ?, last_error = NULL WHERE sequence = ?"
)


def write_plan(connection: apsw.Connection, plan: BatchPlan, now_us: int) -> None:
    """Contacts, conflicts, deliveries, system events and the marks of the events."""
    created = [
        (c.id, c.project_id, c.external_id, c.email, c.email_original, now_us, now_us)
        for c in plan.contacts_created
    ]
    _CONTACTS.run(connection, created)
    connection.executemany(
        _FILL,
        [
            (c.external_id, c.email, c.email_original, now_us, c.id, c.project_id)
            for c in plan.contacts_filled
        ],
    )
    connection.executemany(
        "INSERT INTO contact_conflicts (project_id, sequence, contact_id, other_contact_id, field, "
        "at_us) VALUES (?, ?, ?, ?, ?, ?)",
        [
            (c.project_id, c.sequence, c.contact_id, c.other_contact_id, c.field, now_us)
            for c in plan.conflicts
        ],
    )
    deliveries = [
        (d.id, d.project_id, d.sequence, d.subscriber_id, now_us, now_us) for d in plan.deliveries
    ]
    _DELIVERIES.run(connection, deliveries)
    insert_system_events(connection, plan.system_events, now_us)
    connection.executemany(
        _MARK,
        [(d.attempt, d.contact_id, d.resolution, now_us, d.sequence) for d in plan.done],
    )
