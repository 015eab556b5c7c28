"""Who an event is about: the one contact it is resolved to, and why."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

import msgspec

from headrace.domain.identity import IdentityType

_KINDS = tuple(IdentityType)


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
    #: All identifiers of the event are placeholders, which make one person of many.
    PLACEHOLDER_IDENTIFIER = "placeholder_identifier"


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
    @property
    def external_id_us(self) -> int | None: ...
    @property
    def email_us(self) -> int | None: ...


class Resolved(msgspec.Struct, frozen=True, gc=False):
    """The decision about one event."""

    reason: Reason
    #: The identifier that decided: the first of contact_id, external_id and email that was sent
    #: and is no placeholder; of placeholders alone, the first.
    by: IdentityType
    #: None when there is no contact, and for one to be created, whose id is not known here.
    contact_id: str | None
    #: Empty fields of the contact that the event fills, by name.
    fills: dict[str, str] = {}
    #: Identifiers that belong to another contact: `(field, contact id of the other)`.
    conflicts: tuple[tuple[str, str], ...] = ()
    #: Fields of the event that hold a placeholder.
    placeholders: tuple[str, ...] = ()
    #: Empty fields that stay so: they were cleared after the event happened, `(field, when)`.
    cleared: tuple[tuple[str, int], ...] = ()

    @property
    def plain(self) -> bool:
        """Whether nothing follows from it: no contact changes, and nothing is to be explained."""
        return self.reason is not Reason.CREATED and not (
            self.fills or self.conflicts or self.placeholders or self.cleared
        )


def nothing_is_a_placeholder(kind: IdentityType, value: str) -> bool:
    """Takes every identifier for that of one person."""
    del kind, value
    return False


def resolve(
    event: Identifiers,
    find: Callable[[IdentityType, str], Known | None],
    *,
    may_create: bool,
    happened_us: int,
    is_placeholder: Callable[[IdentityType, str], bool] = nothing_is_a_placeholder,
) -> Resolved:
    """Resolve by contact_id, external_id, normalized e-mail, in that order.

    1. A placeholder is as good as not sent.
    2. The first identifier that is left decides; a later one never overrules it.
    3. What else was sent fills empty fields of that contact, unless they were cleared later.
    4. An identifier that belongs to somebody else is a conflict: nothing is merged silently.
    5. A field that holds another value already is left alone.

    Args:
        happened_us: when the event happened.
    """
    given = {kind: text for kind in _KINDS if (text := getattr(event, kind)) is not None}
    sent = {kind: text for kind, text in given.items() if not is_placeholder(kind, text)}
    placeholders = tuple(kind.value for kind in given if kind not in sent)
    if not sent:
        by = next(iter(given))
        return Resolved(Reason.PLACEHOLDER_IDENTIFIER, by, None, placeholders=placeholders)
    by, value = next(iter(sent.items()))
    contact = find(by, value)
    if contact is None:
        if by is IdentityType.CONTACT_ID:
            return Resolved(Reason.CONTACT_NOT_FOUND, by, None, placeholders=placeholders)
        if not may_create:
            return Resolved(Reason.CREATION_OFF, by, None, placeholders=placeholders)
    fills: dict[str, str] = {}
    conflicts: list[tuple[str, str]] = []
    cleared: list[tuple[str, int]] = []
    for kind in (IdentityType.EXTERNAL_ID, IdentityType.EMAIL):
        text = sent.get(kind)
        held = getattr(contact, kind) if contact else None
        if text is None or held == text:
            continue
        # Whom the deciding identifier leads to is known: to the contact, or to nobody.
        owner = contact if kind is by else find(kind, text)
        if owner is not None and (contact is None or owner.id != contact.id):
            conflicts.append((kind.value, owner.id))
        elif owner is None and held is None:
            since_us = getattr(contact, f"{kind}_us") if contact else None
            if since_us is None or since_us < happened_us:
                fills[kind.value] = text
            else:
                cleared.append((kind.value, since_us))
    return Resolved(
        Reason.MATCHED if contact else Reason.CREATED,
        by,
        contact.id if contact else None,
        fills,
        tuple(conflicts),
        placeholders,
        tuple(cleared),
    )
