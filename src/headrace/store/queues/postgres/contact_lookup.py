"""Contacts that a batch names, read in bulk instead of one by one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from headrace.domain.contacts.earlier_ids import earlier_ids
from headrace.domain.contacts.event_properties import MARK, addresses_written
from headrace.domain.events.identity import IdentityType, contact_lane
from headrace.store.contacts.contact_rows import values_or_none
from headrace.store.contacts.identifiers import Identifier, identifier
from headrace.store.contract.processing import Claimed, ContactIds
from headrace.store.engine.columns import columns_of
from headrace.store.engine.postgres.database import Connection

OWNERS = (
    "SELECT i.project_id, i.kind, i.value, i.contact_id "
    "FROM unnest($1::smallint[], $2::int[], $3::text[], $4::text[]) "
    "AS k (lane, project_id, kind, value) JOIN contact_identifiers i ON i.lane = k.lane "
    "AND i.project_id = k.project_id AND i.kind = k.kind AND i.value = k.value"
)
CONTACTS = (
    "SELECT c.project_id, c.id, c.external_id, c.email, c.external_id_us, c.email_us, "
    "c.email_original, "
    "CASE WHEN $3 THEN c.properties END, CASE WHEN $3 THEN c.property_times END "
    "FROM unnest($1::smallint[], $2::text[]) AS k (lane, id) "
    "JOIN contacts c ON c.lane = k.lane AND c.id = k.id"
)
# One lane at a time: a cluster cannot lock rows on several nodes in one statement.
LOCK = "SELECT 1 FROM contacts WHERE lane = $1 AND id = ANY($2::text[]) ORDER BY id FOR UPDATE"


def identifiers_of(batch: Sequence[Claimed]) -> set[Identifier]:
    """Everything by which events name contacts."""
    return {
        identifier(event.project_id, kind, value)
        for event in batch
        for kind, value in (
            (IdentityType.CONTACT_ID, event.contact_id),
            (IdentityType.EXTERNAL_ID, event.external_id),
            (IdentityType.EMAIL, event.email),
            *((IdentityType.EMAIL, email) for email in addresses_written(event.payload)),
            *(
                (IdentityType.EXTERNAL_ID, earlier)
                for earlier in earlier_ids(event.source, event.event, event.payload)
            ),
        )
        if value is not None
    }


class ContactLookup:
    """What is known of the identifiers of a batch, as of when it was read."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, str, str], ContactIds] = {}
        #: Contact id -> its properties and their times, as stored, where they were read.
        self.texts: dict[str, tuple[str, str]] = {}

    @classmethod
    async def locked(cls, connection: Connection, batch: Sequence[Claimed]) -> ContactLookup:
        """The same with all rows locked, after other writers won the race too often."""
        seen = await cls.read(connection, batch)
        for lane, group in groupby(seen.keys(), key=itemgetter(0)):
            await connection.execute(LOCK, lane, [contact_id for _, contact_id in group])
        return await cls.read(connection, batch)

    @classmethod
    async def read(cls, connection: Connection, batch: Sequence[Claimed]) -> ContactLookup:
        """Look up every contact that the events name."""
        lookup = cls()
        wanted = identifiers_of(batch)
        owners = await connection.fetch(OWNERS, *columns_of(wanted, 4))
        leads_to = {(row[0], row[1], row[2]): row[3] for row in owners}
        for _, project_id, kind, value in wanted:
            if kind == IdentityType.CONTACT_ID:
                leads_to.setdefault((project_id, kind, value), value)
        named = {(key[0], contact_id) for key, contact_id in leads_to.items()}
        # A writing event's contact can depend on values other events of the batch fill: read all.
        with_values = any(MARK in event.payload for event in batch)
        contacts = await lookup._read_contacts(connection, named, with_values=with_values)
        for key, contact_id in leads_to.items():
            contact = contacts.get((key[0], contact_id))
            if contact is not None:
                lookup._found[key] = contact
                lookup._found[key[0], IdentityType.CONTACT_ID, contact_id] = contact
        return lookup

    async def _read_contacts(
        self, connection: Connection, named: set[tuple[int, str]], *, with_values: bool
    ) -> dict[tuple[int, str], ContactIds]:
        keys = sorted((contact_lane(project_id, contact), contact) for project_id, contact in named)
        rows = await connection.fetch(CONTACTS, *columns_of(keys, 2), with_values)
        if with_values:
            self.texts = {row[1]: (row[7], row[8]) for row in rows}
        return {(row[0], row[1]): _contact(row) for row in rows}

    def keys(self) -> list[tuple[int, str]]:
        """Lane and id of the contacts that were found, in order."""
        found = self._found.items()
        return sorted({(contact_lane(key[0], contact.id), contact.id) for key, contact in found})

    def find(self, project_id: int, kind: IdentityType, value: str) -> ContactIds | None:
        """See `headrace.store.contract.processing.FindContact`."""
        return self._found.get((project_id, kind, value))


def _contact(row: Any) -> ContactIds:
    values = values_or_none(row[7], row[8])
    return ContactIds(row[1], row[2], row[3], row[4], row[5], row[6], values)
