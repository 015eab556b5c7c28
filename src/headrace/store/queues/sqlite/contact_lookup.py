"""Contacts that a batch names, read in bulk instead of one by one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import apsw
import msgspec

from headrace.domain.contacts.earlier_ids import earlier_ids
from headrace.domain.contacts.event_properties import MARK, addresses_written
from headrace.domain.contacts.property_times import read_values
from headrace.domain.events.identity import IdentityType
from headrace.store.contract.processing import Claimed, ContactIds

_COLUMNS = "c.id, c.external_id, c.email, c.external_id_us, c.email_us, c.email_original"
_BY_ID = (
    f"SELECT c.id, {_COLUMNS} FROM json_each(?2) j "
    "CROSS JOIN contacts c ON c.id = j.value AND c.project_id = ?1"
)
# Its own identifiers and those of contacts that were merged into it.
_BY_IDENTIFIER = (
    f"SELECT i.value, {_COLUMNS} FROM json_each(?3) j "
    "CROSS JOIN contact_identifiers i ON i.project_id = ?1 AND i.kind = ?2 AND i.value = j.value "
    "CROSS JOIN contacts c ON c.id = i.contact_id"
)
_VALUES = (
    "SELECT c.id, c.properties, c.property_times FROM json_each(?1) j "
    "CROSS JOIN contacts c ON c.id = j.value"
)
_Key = tuple[int, IdentityType, str]


class ContactLookup:
    """What is known of the identifiers of a batch, as of the transaction."""

    def __init__(self, connection: apsw.Connection, batch: Sequence[Claimed]) -> None:
        self._found: dict[_Key, ContactIds] = {}
        wanted: dict[tuple[int, IdentityType], set[str]] = {}
        for event in batch:
            for kind, value in (
                (IdentityType.CONTACT_ID, event.contact_id),
                (IdentityType.EXTERNAL_ID, event.external_id),
                (IdentityType.EMAIL, event.email),
                *((IdentityType.EMAIL, email) for email in addresses_written(event.payload)),
                *(
                    (IdentityType.EXTERNAL_ID, earlier)
                    for earlier in earlier_ids(event.source, event.event, event.payload)
                ),
            ):
                if value is not None:
                    wanted.setdefault((event.project_id, kind), set()).add(value)
        for (project_id, kind), values in wanted.items():
            self._look_up(connection, project_id, kind, values)
        # A writing event's contact can depend on values other events of the batch fill: read all.
        if any(MARK in event.payload for event in batch):
            self._add_values(connection)

    def _look_up(
        self, connection: apsw.Connection, project_id: int, kind: IdentityType, values: set[str]
    ) -> None:
        if kind == IdentityType.CONTACT_ID:
            self._add(project_id, kind, connection.execute(_BY_ID, (project_id, _json(values))))
            # Most of what is missing is new; the rest are ids of contacts that were merged.
            values = {value for value in values if (project_id, kind, value) not in self._found}
        if values:
            wanted = (project_id, kind, _json(values))
            self._add(project_id, kind, connection.execute(_BY_IDENTIFIER, wanted))

    def _add(self, project_id: int, kind: IdentityType, rows: Any) -> None:
        for value, *row in rows:
            contact = ContactIds(*row)
            self._keep(project_id, contact)
            self._found[project_id, kind, value] = contact

    def _add_values(self, connection: apsw.Connection) -> None:
        """Read the properties of all that were found."""
        ids = {found.id for found in self._found.values()}
        rows: Any = connection.execute(_VALUES, (json.dumps(sorted(ids)),))
        values = {contact_id: read_values(*texts) for contact_id, *texts in rows}
        for key, found in self._found.items():
            if found.id in values:
                self._found[key] = msgspec.structs.replace(found, values=values[found.id])

    def _keep(self, project_id: int, contact: ContactIds) -> None:
        self._found[project_id, IdentityType.CONTACT_ID, contact.id] = contact
        if contact.external_id is not None:
            self._found[project_id, IdentityType.EXTERNAL_ID, contact.external_id] = contact
        if contact.email is not None:
            self._found[project_id, IdentityType.EMAIL, contact.email] = contact

    def find(self, project_id: int, kind: IdentityType, value: str) -> ContactIds | None:
        """See `headrace.store.contract.processing.FindContact`."""
        return self._found.get((project_id, kind, value))


def _json(values: set[str]) -> str:
    return json.dumps(sorted(values))
