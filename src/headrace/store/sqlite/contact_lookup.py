"""Contacts that a batch names, read at once instead of one by one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import apsw

from headrace.domain.identity import IdentityType
from headrace.store.contract_processing import Claimed, ContactIds

_COLUMN = {
    IdentityType.CONTACT_ID: "id",
    IdentityType.EXTERNAL_ID: "external_id",
    IdentityType.EMAIL: "email",
}
_FIND = {
    kind: (
        "SELECT c.id, c.external_id, c.email FROM json_each(?2) j "  # noqa: S608
        f"CROSS JOIN contacts c ON c.project_id = ?1 AND c.{column} = j.value"
        + (f" AND c.{column} IS NOT NULL" if column != "id" else "")
    )
    for kind, column in _COLUMN.items()
}


class ContactLookup:
    """What is known of the identifiers of a batch, as it stands in the transaction."""

    def __init__(self, connection: apsw.Connection, batch: Sequence[Claimed]) -> None:
        self._found: dict[tuple[int, IdentityType, str], ContactIds] = {}
        wanted: dict[tuple[int, IdentityType], set[str]] = {}
        for event in batch:
            for kind, value in (
                (IdentityType.CONTACT_ID, event.contact_id),
                (IdentityType.EXTERNAL_ID, event.external_id),
                (IdentityType.EMAIL, event.email),
            ):
                if value is not None:
                    wanted.setdefault((event.project_id, kind), set()).add(value)
        for (project_id, kind), values in wanted.items():
            rows: Any = connection.execute(_FIND[kind], (project_id, json.dumps(sorted(values))))
            for row in rows:
                self._keep(project_id, ContactIds(*row))

    def _keep(self, project_id: int, contact: ContactIds) -> None:
        self._found[project_id, IdentityType.CONTACT_ID, contact.id] = contact
        if contact.external_id is not None:
            self._found[project_id, IdentityType.EXTERNAL_ID, contact.external_id] = contact
        if contact.email is not None:
            self._found[project_id, IdentityType.EMAIL, contact.email] = contact

    def find(self, project_id: int, kind: IdentityType, value: str) -> ContactIds | None:
        """See `headrace.store.contract_processing.FindContact`."""
        return self._found.get((project_id, kind, value))
