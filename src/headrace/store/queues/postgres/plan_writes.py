"""Write the decisions about a batch of events; runs inside the caller's transaction.

Rows that others may write too are locked in the same order everywhere, contacts before identifiers
and each sorted by key, so that writers cannot deadlock.
"""

from __future__ import annotations

from collections.abc import Sequence

from headrace.domain.events.event import Status
from headrace.domain.events.identity import contact_lane
from headrace.domain.ids import new_uuid, uuid_text
from headrace.store.automations.inbox import add_to_inbox
from headrace.store.contacts.merging.pair_rows import pairs_found
from headrace.store.contract.processing import BatchPlan, ConflictFound, Done, NewDelivery
from headrace.store.engine.columns import columns_of
from headrace.store.engine.postgres.database import Connection
from headrace.store.engine.postgres.sequences import SequenceAllocator
from headrace.store.engine.postgres.transaction import PostgresTransaction
from headrace.store.queues.postgres.contact_lookup import ContactLookup
from headrace.store.queues.postgres.plan_contacts import write_contacts_of_plan
from headrace.store.queues.postgres.system_events import insert_system_events

_MARKS = (
    "INSERT INTO event_states (lane, sequence, project_id, attempts, contact_id, resolution, "
    "status, "
    f"processed_us) SELECT n.*, {Status.PROCESSED:d}, $7 FROM unnest($1::smallint[], "
    "$2::bigint[], $3::int[], $4::smallint[], $5::text[], $6::text[]) AS n "
    "ON CONFLICT (lane, sequence) DO UPDATE SET attempts = excluded.attempts, "
    "contact_id = excluded.contact_id, resolution = excluded.resolution, "
    "status = excluded.status, processed_us = excluded.processed_us, last_error = NULL"
)
_DELIVERIES = (
    "INSERT INTO deliveries (lane, number, id, project_id, sequence, subscriber_id, due_us, "
    "created_us) SELECT n.*, $7, $7 FROM unnest($1::smallint[], $2::bigint[], $3::text[], "
    "$4::int[], $5::bigint[], $6::text[]) AS n"
)
_CONFLICTS = (
    "INSERT INTO contact_conflicts (lane, sequence, field, number, project_id, contact_id, "
    "other_contact_id, at_us) SELECT n.*, $8 FROM unnest($1::smallint[], $2::bigint[], "
    "$3::text[], $4::bigint[], $5::int[], $6::text[], $7::text[]) AS n"
)
_PAIRS = (
    "INSERT INTO conflict_pairs AS p (lane, number, id, project_id, low_id, high_id, contact_id, "
    "other_contact_id, events, external_id_count, email_count, last_event_id, first_us, last_us) "
    "SELECT n.*, $13, $13 FROM unnest($1::smallint[], $2::bigint[], $3::text[], $4::int[], "
    "$5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[], $10::bigint[], $11::bigint[], "
    "$12::uuid[]) AS n ON CONFLICT (lane, low_id, high_id) DO UPDATE SET "
    "contact_id = excluded.contact_id, other_contact_id = excluded.other_contact_id, "
    "events = p.events + excluded.events, "
    "external_id_count = p.external_id_count + excluded.external_id_count, "
    "email_count = p.email_count + excluded.email_count, "
    "last_event_id = excluded.last_event_id, last_us = greatest(p.last_us, excluded.last_us)"
)


async def write_plan(
    connection: Connection,
    numbers: SequenceAllocator,
    plan: BatchPlan,
    found: ContactLookup,
    now_us: int,
) -> None:
    """Write contacts, conflicts, deliveries, system events, the inbox and the events' states.

    Args:
        found: what the plan was made from.

    Raises:
        ContactRaceError: a contact has changed since the plan read it.
    """
    await write_contacts_of_plan(connection, numbers, plan, found, now_us)
    await _write_conflicts(connection, numbers, plan.conflicts, now_us)
    await _write_deliveries(connection, numbers, plan.deliveries, now_us)
    await insert_system_events(connection, numbers, plan.system_events, now_us)
    await add_to_inbox(PostgresTransaction(connection), plan.inbox, now_us)
    await _write_marks(connection, plan.done, now_us)


async def _write_marks(connection: Connection, done: Sequence[Done], now_us: int) -> None:
    rows = ((d.lane, d.sequence, d.project_id, d.attempt, d.contact_id, d.resolution) for d in done)
    if done:
        await connection.execute(_MARKS, *columns_of(rows, 6), now_us)


async def _write_deliveries(
    connection: Connection,
    numbers: SequenceAllocator,
    deliveries: Sequence[NewDelivery],
    now_us: int,
) -> None:
    if not deliveries:
        return
    rows = (
        (d.lane, numbers.number(now_us), d.id, d.project_id, d.sequence, d.subscriber_id)
        for d in deliveries
    )
    await connection.execute(_DELIVERIES, *columns_of(rows, 6), now_us)


async def _write_conflicts(
    connection: Connection,
    numbers: SequenceAllocator,
    conflicts: Sequence[ConflictFound],
    now_us: int,
) -> None:
    if not conflicts:
        return
    rows = (
        (
            c.lane,
            c.sequence,
            c.field,
            numbers.number(now_us),
            c.project_id,
            c.contact_id,
            c.other_contact_id,
        )
        for c in conflicts
    )
    await connection.execute(_CONFLICTS, *columns_of(rows, 7), now_us)
    pairs = sorted(
        (contact_lane(found[0], found[1]), numbers.number(now_us), uuid_text(new_uuid()), *found)
        for found in pairs_found(conflicts)
    )
    await connection.execute(_PAIRS, *columns_of(pairs, 12), now_us)
