"""Contacts of whom only the names are read: enough for what belongs to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.domain.contacts import Contact
from headrace.store.contract_processing import SystemEvent


class ContactRef(msgspec.Struct, frozen=True):
    """A contact of whom only the names are known."""

    number: int
    id: str
    project_id: int
    lane: int

    def event(self, name: str, payload: str) -> SystemEvent:
        """A system event about the contact."""
        return SystemEvent(self.project_id, name, self.id, payload, self.lane)


def ref(row: Sequence[Any]) -> ContactRef:
    """From `number, id, project_id, external_id, email`."""
    number, contact_id, project_id, external_id, email = row
    contact = Contact(
        id=contact_id,
        project_id=project_id,
        external_id=external_id,
        email=email,
        created_us=0,
        updated_us=0,
    )
    return ContactRef(number, contact_id, project_id, contact.lane)
