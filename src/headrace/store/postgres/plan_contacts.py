"""Contacts that a plan creates, fills and writes; runs inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.domain.identity import IdentityType, contact_lane
from headrace.store.contacts.identifiers import Identifier, identifier
from headrace.store.contacts.races import ContactRaceError
from headrace.store.contract import StoreRowError
from headrace.store.contract_processing import (
    BatchPlan,
    ContactCreated,
    ContactFilled,
    ContactWritten,
)
from headrace.store.engine.columns import columns_of
from headrace.store.postgres.contact_lookup import ContactLookup
from headrace.store.postgres.database import Connection
from headrace.store.postgres.numbers import Numbers

_CREATE = (
    "INSERT INTO contacts (lane, id, number, project_id, external_id, email, email_original, "
    "external_id_us, email_us, properties, property_times, created_us, updated_us) "
    "SELECT n.*, $12, $12 FROM unnest($1::smallint[], $2::text[], $3::bigint[], $4::int[], "
    "$5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[], $10::text[], "
    "$11::text[]) AS n"
)
# A field that is filled must still be empty: else somebody else was quicker.
_FILL = (
    "UPDATE contacts c SET external_id = coalesce(c.external_id, n.external_id), "
    "email = coalesce(c.email, n.email), "
    "email_original = coalesce(c.email_original, n.email_original), "
    "external_id_us = coalesce(n.external_id_us, c.external_id_us), "
    "email_us = coalesce(n.email_us, c.email_us), updated_us = greatest(c.updated_us, $8) "
    "FROM unnest($1::smallint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], "
    "$7::bigint[]) AS n (lane, id, external_id, email, email_original, external_id_us, email_us) "
    "WHERE c.lane = n.lane AND c.id = n.id "
    "AND (n.external_id IS NULL OR c.external_id IS NULL) AND (n.email IS NULL OR c.email IS NULL)"
)
# What was decided from values must not undo what somebody else has written since.
_WRITE = (
    "UPDATE contacts c SET properties = n.properties, property_times = n.property_times, "
    "updated_us = CASE WHEN n.changed THEN greatest(c.updated_us, $8) ELSE c.updated_us END "
    "FROM unnest($1::smallint[], $2::text[], $3::text[], $4::text[], $5::bool[], $6::text[], "
    "$7::text[]) AS n (lane, id, properties, property_times, changed, held, held_times) "
    "WHERE c.lane = n.lane AND c.id = n.id "
    "AND c.properties = n.held AND c.property_times = n.held_times"
)
# Waits for others that write the same identifiers; none is inserted that somebody has by then. The
# rows are counted, not the status, which on a cluster tells how many were tried.
_CLAIM_IDENTIFIERS = (
    "INSERT INTO contact_identifiers (lane, project_id, kind, value, contact_id) "
    "SELECT * FROM unnest($1::smallint[], $2::int[], $3::text[], $4::text[], $5::text[]) "
    "ON CONFLICT DO NOTHING RETURNING lane"
)


async def write_contacts_of_plan(
    connection: Connection, numbers: Numbers, plan: BatchPlan, found: ContactLookup, now_us: int
) -> None:
    """Contacts first, then their identifiers.

    Raises:
        ContactRaceError: somebody else was quicker.
        StoreRowError: the plan gives one identifier to two contacts.
    """
    created, filled = _put_together(plan)
    await _insert(connection, numbers, created, now_us)
    await _fill(connection, filled, now_us)
    written = [one for one in plan.contacts_written.values() if one.id in found.texts]
    await _write_values(connection, written, found, now_us)
    await _claim(connection, [*created, *filled])


def _put_together(plan: BatchPlan) -> tuple[list[ContactCreated], list[ContactFilled]]:
    """What the plan adds to contacts of its own is inserted with them."""
    created = {contact.id: contact for contact in plan.contacts_created}
    filled = [fill for fill in plan.contacts_filled if fill.id not in created]
    for fill in plan.contacts_filled:
        if fill.id in created:
            created[fill.id] = _with_fill(created[fill.id], fill)
    for one in plan.contacts_written.values():
        if one.id in created:
            created[one.id] = msgspec.structs.replace(created[one.id], values=one.values)
    return list(created.values()), filled


def _with_fill(contact: ContactCreated, fill: ContactFilled) -> ContactCreated:
    if contact.external_id is None:
        contact = msgspec.structs.replace(contact, external_id=fill.external_id)
    if contact.email is None:
        contact = msgspec.structs.replace(
            contact, email=fill.email, email_original=fill.email_original
        )
    return contact


async def _insert(
    connection: Connection, numbers: Numbers, created: Sequence[ContactCreated], now_us: int
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
            None if c.external_id is None else c.at_us,
            None if c.email is None else c.at_us,
            "{}" if c.values is None else c.values.properties_text(),
            "{}" if c.values is None else c.values.times_text(),
        )
        for c in created
    ]
    await connection.execute(_CREATE, *columns_of(rows, 11), now_us)


async def _fill(connection: Connection, filled: Sequence[ContactFilled], now_us: int) -> None:
    # One contact may be filled by several events of the batch, one field each.
    rows: dict[str, list[Any]] = {}
    for fill in filled:
        row = rows.setdefault(
            fill.id, [contact_lane(fill.project_id, fill.id), fill.id, *[None] * 5]
        )
        if fill.external_id is not None:
            row[2], row[5] = fill.external_id, fill.at_us
        if fill.email is not None:
            row[3], row[4], row[6] = fill.email, fill.email_original, fill.at_us
    if rows:
        done = await connection.execute(_FILL, *columns_of(sorted(rows.values()), 7), now_us)
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


async def _claim(
    connection: Connection, contacts: Sequence[ContactCreated | ContactFilled]
) -> None:
    rows: dict[Identifier, str] = {}
    for contact in contacts:
        for kind in (IdentityType.EXTERNAL_ID, IdentityType.EMAIL):
            value = getattr(contact, kind)
            if value is None:
                continue
            key = identifier(contact.project_id, kind, value)
            if rows.setdefault(key, contact.id) != contact.id:
                raise StoreRowError(f"The plan gives one {kind} to two contacts.")
    if rows:
        ordered = sorted((*key, contact_id) for key, contact_id in rows.items())
        if len(await connection.fetch(_CLAIM_IDENTIFIERS, *columns_of(ordered, 5))) != len(ordered):
            raise ContactRaceError


def _check(status: str, expected: int) -> None:
    if int(status.rpartition(" ")[2]) != expected:
        raise ContactRaceError
