"""Who an event is about: the one contact it is resolved to, and why."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

import msgspec

from headrace.domain.identity import IdentityType


class Reason(StrEnum):
    """Why an event was resolved as it was; kept with the event for its trace."""

    #: A contact has the identifier.
    MATCHED = "matched"
    #: Nobody had it, so a contact was created.
    CREATED = "created"
    #: The event names a contact id that does not exist; such contacts are never created.
    CONTACT_NOT_FOUND = "contact_not_found"
    #: Nobody has it, and the policy `create_contacts` is off.
    CREATION_OFF = "creation_off"


class Identifiers(Protocol):
    """The identifiers an event carries."""

    @property
    def contact_id(self) -> str | None: ...
    @property
    def external_id(self) -> str | None: ...
    @property
    def email(self) -> str | None: ...


class Known(Protocol):
    """A contact that is already there."""

    @property
    def id(self) -> str: ...
    @property
    def external_id(self) -> str | None: ...
    @property
    def email(self) -> str | None: ...


class Resolved(msgspec.Struct, frozen=True, gc=False):
    """The decision about one event."""

    reason: Reason
    #: The identifier that decided: the first of contact_id, external_id and email that was sent.
    by: IdentityType
    #: None when there is no contact, and for one to be created, whose id is not known here.
    contact_id: str | None
    #: Empty fields of the contact that the event fills, by name.
    fills: dict[str, str] = {}
    #: Identifiers that belong to another contact: `(field, contact id of the other)`.
    conflicts: tuple[tuple[str, str], ...] = ()


def resolve(
    event: Identifiers,
    find: Callable[[IdentityType, str], Known | None],
    *,
    may_create: bool,
) -> Resolved:
    """Resolve by contact_id, external_id, normalized e-mail, in that order.

    1. The first identifier that was sent decides; a later one never overrules it.
    2. What else was sent fills empty fields of that contact.
    3. An identifier that belongs to somebody else is a conflict: nothing is merged silently.
    4. A field that holds another value already is left alone.
    """
    sent = {
        IdentityType.CONTACT_ID: event.contact_id,
        IdentityType.EXTERNAL_ID: event.external_id,
        IdentityType.EMAIL: event.email,
    }
    by, value = next((kind, text) for kind, text in sent.items() if text is not None)
    contact = find(by, value)
    if contact is None:
        if by is IdentityType.CONTACT_ID:
            return Resolved(Reason.CONTACT_NOT_FOUND, by, None)
        if not may_create:
            return Resolved(Reason.CREATION_OFF, by, None)
    own = {
        IdentityType.EXTERNAL_ID: contact.external_id if contact else None,
        IdentityType.EMAIL: contact.email if contact else None,
    }
    fills: dict[str, str] = {}
    conflicts = []
    for kind, held in own.items():
        text = sent[kind]
        if text is None or held == text:
            continue
        # The deciding identifier of a contact to be created is known to be free.
        other = None if kind is by else find(kind, text)
        if other is not None:
            conflicts.append((kind.value, other.id))
        elif held is None:
            fills[kind.value] = text
    reason = Reason.MATCHED if contact else Reason.CREATED
    return Resolved(reason, by, contact.id if contact else None, fills, tuple(conflicts))
