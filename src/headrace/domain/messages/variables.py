"""Values of a template's variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class TemplateContact(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a contact that a template may use."""

    id: str
    external_id: str | None
    email: str | None
    properties: Mapping[str, Any]
    #: RFC 3339.
    created_at: str


def template_values(
    *,
    variables: Mapping[str, Any],
    payload: Mapping[str, Any],
    contact: TemplateContact | None,
    unsubscribe_url: str,
    preferences_url: str,
) -> dict[str, Any]:
    """Values by name.

    A bare name is looked up in the variables of the step or request, then in the payload of the
    event that began the run, then in the properties of the contact. `contact`, `payload` and the
    two addresses cannot be overridden.
    """
    known: dict[str, Any] = {} if contact is None else dict(contact.properties)
    known |= payload
    known |= variables
    known["payload"] = dict(payload)
    known["contact"] = {} if contact is None else msgspec.structs.asdict(contact)
    known["unsubscribe_url"] = unsubscribe_url
    known["preferences_url"] = preferences_url
    return known
