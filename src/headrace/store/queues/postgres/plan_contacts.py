"""Contacts that a plan creates, changes and writes; runs inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.domain.events.identity import contact_lane
from headrace.store.contacts.identifiers import (
    Identifier,
    identifier,
    identifiers_claimed,
    identifiers_released,
)
from headrace.store.contacts.races import ContactRaceError
from headrace.store.contract.errors import StoreRowError
from headrace.store.contract.processing import (
    BatchPlan,
    ContactChanged,
    ContactCreated,
    ContactWritten,
)
from headrace.store.engine.columns import columns_of
from headrace.store.engine.postgres.database import Connection
from headrace.store.engine.postgres.sequences import SequenceAllocator
from headrace.store.engine.postgres.transaction import rows_changed
from headrace.store.queues.postgres.contact_lookup import ContactLookup

_CREATE = (
    "INSERT INTO contacts (lane, id, number, project_id, external_id, email, email_original, "
    "external_id_us, email_us, properties, property_times, created_us, updated_us) "
    "SELECT n.*, $12, $12 FROM unnest($1::smallint[], $2::text[], $3::bigint[], $4::int[], "
    "$5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[], $10::text[], "
    "$11::text[]) AS n"
)
# A decision made from identifiers must not overwrite what another writer has changed since.
_CHANGE = (
    "UPDATE contacts c SET external_id = n.external_id, external_id_us = n.external_id_us, "
    "email = n.email, email_original = n.email_original, email_us = n.email_us, "
    "updated_us = CASE WHEN n.changed THEN greatest(c.updated_us, $12) ELSE c.updated_us END "
    "FROM unnest($1::smallint[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], "
    "$7::bigint[], $8::bool[], $9::text[], $10::text[], $11::bigint[]) AS n (lane, id, "
    "external_id, external_id_us, email, email_original, email_us, changed, held_external_id, "
    "held_email, held_email_us) WHERE c.lane = n.lane AND c.id = n.id "
    "AND c.external_id IS NOT DISTINCT FROM n.held_external_id "
    "AND c.email IS NOT DISTINCT FROM n.held_email "
    "AND c.email_us IS NOT DISTINCT FROM n.held_email_us"
)
# A decision made from values must not overwrite what another writer has changed since.
_WRITE = (
    "UPDATE contacts c SET properties = n.properties, property_times = n.property_times, "
    "updated_us = CASE WHEN n.changed THEN greatest(c.updated_us, $8) ELSE c.updated_us END "
    "FROM unnest($1::smallint[], $2::text[], $3::text[], $4::text[], $5::bool[], $6::text[], "
    "$7::text[]) AS n (lane, id, properties, property_times, changed, held, held_times) "
    "WHERE c.lane = n.lane AND c.id = n.id "
    "AND c.properties = n.held AND c.property_times = n.held_times"
)
_RELEASE = (
    "DELETE FROM contact_identifiers i "
    "USING unnest($1::smallint[], $2::int[], $3::text[], $4::text[], $5::text[]) "
    "AS k (lane, project_id, kind, value, contact_id) WHERE i.lane = k.lane "
    "AND i.project_id = k.project_id AND i.kind = k.kind AND i.value = k.value "
    "AND i.contact_id = k.contact_id"
)
# An alias that becomes the contact's own identifier is no longer an alias.
_OWN = (
    "UPDATE contact_identifiers i SET alias = false "
    "FROM unnest($1::smallint[], $2::int[], $3::text[], $4::text[], $5::text[]) "
    "AS k (lane, project_id, kind, value, contact_id) WHERE i.lane = k.lane "
    "AND i.project_id = k.project_id AND i.kind = k.kind AND i.value = k.value "
    "AND i.contact_id = k.contact_id AND i.alias"
)
# Waits for other writers of the same identifiers; none is inserted that is taken by then. The rows
# are counted, not the status, which on a cluster is the number that was attempted.
_CLAIM_IDENTIFIERS = (
    "INSERT INTO contact_identifiers (lane, project_id, kind, value, contact_id) "
    "SELECT * FROM unnest($1::smallint[], $2::int[], $3::text[], $4::text[], $5::text[]) "
    "ON CONFLICT DO NOTHING RETURNING lane"
)


async def write_contacts_of_plan(
    connection: Connection,
    numbers: SequenceAllocator,
    plan: BatchPlan,
    found: ContactLookup,
    now_us: int,
) -> None:
    """Write contacts first, then their identifiers: released ones before new ones.

    Raises:
        ContactRaceError: another writer was faster.
        StoreRowError: the plan gives one identifier to two contacts.
    """
    changed = list(plan.contacts_changed.values())
    await _insert(connection, numbers, list(plan.contacts_created.values()), now_us)
    await _change(connection, changed, now_us)
    await _write_values(connection, list(plan.contacts_written.values()), found, now_us)
    await _release(connection, changed)
    await _claim(connection, plan, found)


async def _insert(
    connection: Connection,
    numbers: SequenceAllocator,
    created: Sequence[ContactCreated],
    now_us: int,
) -> None:
    if not created:
        return
    rows = [
        (
            contact_lane(c.project_id, c.id),
            c.id,
            numbers.number(now_us),
            c.project_id,
            c.external_id,
            c.email,
            c.email_original,
            c.external_id_us,
            c.email_us,
            "{}" if c.values is None else c.values.properties_text(),
            "{}" if c.values is None else c.values.times_text(),
        )
        for c in created
    ]
    await connection.execute(_CREATE, *columns_of(rows, 11), now_us)


async def _change(connection: Connection, changed: Sequence[ContactChanged], now_us: int) -> None:
    rows: list[tuple[Any, ...]] = []
    for one in changed:
        before, after = one.before, one.after
        rows.append(
            (
                *(contact_lane(one.project_id, after.id), after.id),
                *(after.external_id, after.external_id_us),
                *(after.email, after.email_original, after.email_us, one.changed),
                *(before.external_id, before.email, before.email_us),
            )
        )
    if rows:
        rows.sort(key=lambda row: row[:2])
        done = await connection.execute(_CHANGE, *columns_of(rows, 11), now_us)
        _check(done, len(rows))


async def _write_values(
    connection: Connection, written: Sequence[ContactWritten], found: ContactLookup, now_us: int
) -> None:
    rows = sorted(
        (
            contact_lane(one.project_id, one.id),
            one.id,
            one.values.properties_text(),
            one.values.times_text(),
            one.changed,
            *found.texts[one.id],
        )
        for one in written
    )
    if rows:
        done = await connection.execute(_WRITE, *columns_of(rows, 7), now_us)
        _check(done, len(rows))


async def _release(connection: Connection, changed: Sequence[ContactChanged]) -> None:
    rows = sorted((*key, contact_id) for key, contact_id in identifiers_released(changed))
    if rows:
        await connection.execute(_RELEASE, *columns_of(rows, 5))


async def _claim(connection: Connection, plan: BatchPlan, found: ContactLookup) -> None:
    rows: dict[Identifier, str] = {}
    own: list[tuple[Any, ...]] = []
    for project_id, kind, value, contact_id in identifiers_claimed(plan):
        key = identifier(project_id, kind, value)
        holder = found.find(project_id, kind, value)
        if holder is not None and holder.id == contact_id:
            own.append((*key, contact_id))
        elif rows.setdefault(key, contact_id) != contact_id:
            raise StoreRowError(f"The plan gives one {kind} to two contacts.")
    if own:
        _check(await connection.execute(_OWN, *columns_of(sorted(own), 5)), len(own))
    if rows:
        ordered = sorted((*key, contact_id) for key, contact_id in rows.items())
        if len(await connection.fetch(_CLAIM_IDENTIFIERS, *columns_of(ordered, 5))) != len(ordered):
            raise ContactRaceError


def _check(status: str, expected: int) -> None:
    if rows_changed(status) != expected:
        raise ContactRaceError
