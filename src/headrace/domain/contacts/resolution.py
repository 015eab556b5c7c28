"""Resolves an event to one contact, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

import msgspec

from headrace.domain.events.identity import IdentityType

_KINDS = tuple(IdentityType)


class Reason(StrEnum):
    """Why an event was resolved as it was; kept with the event for its trace."""

    #: A contact has the identifier.
    MATCHED = "matched"
    #: The identifier was unknown, so a contact was created.
    CREATED = "created"
    #: The external_id was unknown, and the contact of the e-mail address, which had none, got it.
    LINKED = "linked"
    #: The event names a contact id that does not exist; such contacts are never created.
    CONTACT_NOT_FOUND = "contact_not_found"
    #: The identifier is unknown, and the policy `create_contacts` is off.
    CREATION_OFF = "creation_off"
    #: All identifiers of the event are placeholders, which would make one person of many.
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
    """An existing contact."""

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
    #: and is no placeholder; of placeholders alone, the first. The email, if it is `LINKED`.
    by: IdentityType
    #: None without a contact, and for one to be created, whose id is not known here.
    contact_id: str | None
    #: Empty fields of the contact that the event fills, by name.
    fills: dict[str, str] = {}
    #: Identifiers that belong to another contact: `(field, contact id of the other)`.
    conflicts: tuple[tuple[str, str], ...] = ()
    #: Fields of the event that hold a placeholder.
    placeholders: tuple[str, ...] = ()
    #: Empty fields that stay empty: they were cleared after the event happened, `(field, when)`.
    cleared: tuple[tuple[str, int], ...] = ()

    @property
    def plain(self) -> bool:
        """Whether it changes no contact and needs no explanation."""
        return self.reason is not Reason.CREATED and not (
            self.fills or self.conflicts or self.placeholders or self.cleared
        )


def nothing_is_a_placeholder(kind: IdentityType, value: str) -> bool:
    """Treats no identifier as a placeholder."""
    del kind, value
    return False


def resolve(
    event: Identifiers,
    find: Callable[[IdentityType, str], Known | None],
    *,
    may_create: bool,
    happened_us: int,
    links: bool = True,
    is_placeholder: Callable[[IdentityType, str], bool] = nothing_is_a_placeholder,
) -> Resolved:
    """Resolve by contact_id, external_id, normalized e-mail, in that order.

    1. A placeholder is ignored.
    2. The first remaining identifier decides; a later one never overrules it. Only an unknown
    external_id joins the contact of the e-mail address, if that has none.
    3. The other identifiers fill empty fields of that contact, unless they were cleared later.
    4. An identifier that belongs to another contact is a conflict: nothing is merged silently.
    5. A field that already has another value is not changed.

    Args:
        happened_us: when the event happened.
        links: whether an unknown external_id may join the contact of the e-mail address.
    """
    given = {kind: text for kind in _KINDS if (text := getattr(event, kind)) is not None}
    sent = {kind: text for kind, text in given.items() if not is_placeholder(kind, text)}
    placeholders = tuple(kind.value for kind in given if kind not in sent)
    if not sent:
        by = next(iter(given))
        return Resolved(Reason.PLACEHOLDER_IDENTIFIER, by, None, placeholders=placeholders)
    by, value = next(iter(sent.items()))
    contact, reason = find(by, value), Reason.MATCHED
    if contact is None and by is IdentityType.EXTERNAL_ID and links:
        contact = _linked(sent.get(IdentityType.EMAIL), find, happened_us)
        if contact is not None:
            by, reason = IdentityType.EMAIL, Reason.LINKED
    if contact is None:
        if by is IdentityType.CONTACT_ID:
            return Resolved(Reason.CONTACT_NOT_FOUND, by, None, placeholders=placeholders)
        if not may_create:
            return Resolved(Reason.CREATION_OFF, by, None, placeholders=placeholders)
        reason = Reason.CREATED
    fills, conflicts, cleared = _others(sent, by, contact, find, happened_us)
    return Resolved(
        reason,
        by,
        contact.id if contact else None,
        fills,
        conflicts,
        placeholders,
        cleared,
    )


def _others(
    sent: dict[IdentityType, str],
    by: IdentityType,
    contact: Known | None,
    find: Callable[[IdentityType, str], Known | None],
    happened_us: int,
) -> tuple[dict[str, str], tuple[tuple[str, str], ...], tuple[tuple[str, int], ...]]:
    """The effect of the identifiers on the contact: `fills`, `conflicts` and `cleared`."""
    fills: dict[str, str] = {}
    conflicts: list[tuple[str, str]] = []
    cleared: list[tuple[str, int]] = []
    for kind in (IdentityType.EXTERNAL_ID, IdentityType.EMAIL):
        text = sent.get(kind)
        held = getattr(contact, kind) if contact else None
        if text is None or held == text:
            continue
        # The deciding identifier is known to lead to the contact, or to none.
        owner = contact if kind is by else find(kind, text)
        if owner is not None and (contact is None or owner.id != contact.id):
            conflicts.append((kind.value, owner.id))
        elif owner is None and held is None:
            since_us = getattr(contact, f"{kind}_us") if contact else None
            if since_us is None or since_us < happened_us:
                fills[kind.value] = text
            else:
                cleared.append((kind.value, since_us))
    return fills, tuple(conflicts), tuple(cleared)


def _linked(
    email: str | None, find: Callable[[IdentityType, str], Known | None], happened_us: int
) -> Known | None:
    """The contact of an address that an unknown external_id joins."""
    contact = None if email is None else find(IdentityType.EMAIL, email)
    return contact if contact is not None and may_link(contact, happened_us) else None


def may_link(contact: Known, happened_us: int) -> bool:
    """Whether a contact has no external_id, and none was cleared since then."""
    since_us = contact.external_id_us
    return contact.external_id is None and (since_us is None or since_us < happened_us)
