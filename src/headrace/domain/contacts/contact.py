"""A contact: its identifiers and properties, and changes of them."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from headrace.domain.access.policies import LinkIdentifiers, Policies
from headrace.domain.contacts.properties import PropertyValue, check_properties, same_value
from headrace.domain.contacts.property_times import Stamp, Times, Values, Written
from headrace.domain.contacts.property_times import write as write_values
from headrace.domain.contacts.resolution import may_link
from headrace.domain.email import normalize_email
from headrace.domain.errors import ApiError, ErrorCode, FieldProblem, invalid
from headrace.domain.events.fields import check_external_id
from headrace.domain.events.identity import IdentityType, lane_of
from headrace.domain.events.placeholders import placeholders
from headrace.domain.events.problems import read_object
from headrace.domain.json_fields import FieldReader
from headrace.domain.json_text import DuplicateMemberError, forbidden_escape, parse_object
from headrace.domain.timestamps import parse as parse_time

CONTACT_CREATED = "sendrealm.contact.created"
CONTACT_UPDATED = "sendrealm.contact.updated"
CONTACT_DELETED = "sendrealm.contact.deleted"

MEMBERS = ("external_id", "email", "properties", "occurred_at")
#: After every moment.
FOREVER_US = 2**63 - 1
#: The identifiers of a person; each belongs to one contact of a project.
IDENTIFIERS = ("external_id", "email")


class Contact(msgspec.Struct, frozen=True, kw_only=True):
    """A person of one project."""

    id: str
    project_id: int
    external_id: str | None = None
    #: Normalized.
    email: str | None = None
    #: As given, where that differs.
    email_original: str | None = None
    properties: dict[str, PropertyValue] = {}
    created_us: int
    updated_us: int
    #: When the identifier was set or cleared; None: with the contact, or never.
    external_id_us: int | None = None
    email_us: int | None = None
    property_times: Times = {}

    @property
    def values(self) -> Values:
        """Properties with their times."""
        return Values(self.properties, self.property_times)

    def since_us(self, field: str) -> int | None:
        """When an identifier was set or cleared; None when it never was."""
        at_us: int | None = getattr(self, f"{field}_us")
        if at_us is None and getattr(self, field) is not None:
            return self.created_us
        return at_us

    @property
    def lane(self) -> int:
        """Lane of the identity that events most likely use for the contact."""
        if self.external_id is not None:
            return lane_of(self.project_id, IdentityType.EXTERNAL_ID, self.external_id)
        if self.email is not None:
            return lane_of(self.project_id, IdentityType.EMAIL, self.email)
        return lane_of(self.project_id, IdentityType.CONTACT_ID, self.id)


class ContactWrite(msgspec.Struct, frozen=True, kw_only=True):
    """Checked fields to write; UNSET leaves one as it is, None clears it."""

    external_id: str | UnsetType | None = UNSET
    email: str | UnsetType | None = UNSET
    #: Only together with `email`.
    email_original: str | None = None
    #: By name; None removes the property.
    properties: dict[str, PropertyValue | None] = {}
    #: Time of the change; later values win over it. None: now, after everything else.
    occurred_us: int | None = None
    #: Whether an upsert gives an unknown `external_id` to the contact of the `email`, if that has
    #: none.
    link: bool = False
    #: Whether the properties are tags of a client, which change only what tags have set.
    are_tags: bool = False

    def joins(self, contact: Contact) -> bool:
        """Whether the contact of the address gets the `external_id`, which is unknown."""
        happened_us = FOREVER_US if self.occurred_us is None else self.occurred_us
        return self.link and isinstance(self.external_id, str) and may_link(contact, happened_us)


class Changed(msgspec.Struct, frozen=True):
    """A contact after a write; `changes` is empty when nothing changed."""

    contact: Contact
    #: Field -> `{"from": ..., "to": ...}`; a property's field is `properties.<name>`.
    changes: dict[str, dict[str, PropertyValue | None]]


class _PropertiesOnly(msgspec.Struct):
    properties: msgspec.Raw = msgspec.Raw(b"")


def decode_contact(body: bytes, *, clears: bool) -> ContactWrite:
    """Decode and check the body of a write.

    Args:
        body: JSON text of an object.
        clears: what null means for `external_id` and `email`: to clear it, or that it is absent.

    Raises:
        ApiError: with every problem listed.
    """
    check = FieldReader(read_object(body), MEMBERS, "a contact", others_in="properties")
    external_id = check.text("external_id", check_external_id)
    email = check.text("email", normalize_email)
    properties = check_properties(check.members.get("properties"), check)
    occurred_us = check.text("occurred_at", parse_time)
    check.raise_if_any()
    _reject_duplicates(body, check)
    sent = check.members
    return ContactWrite(
        external_id=_set_or_not(sent, "external_id", external_id, clears=clears),
        email=_set_or_not(sent, "email", email, clears=clears),
        email_original=None if sent.get("email") == email else sent.get("email"),
        properties=properties,
        occurred_us=occurred_us,
    )


def _set_or_not(
    sent: dict[str, Any], field: str, value: str | None, *, clears: bool
) -> str | UnsetType | None:
    if value is None and not (clears and field in sent):
        return UNSET
    return value


def _reject_duplicates(body: bytes, check: FieldReader) -> None:
    """Reject a duplicate property: it is unknown which of the two is meant."""
    if not check.members.get("properties"):
        return
    # Text that the strict decoder below cannot read has been rejected already, except for text
    # hidden in escapes.
    if forbidden_escape(body) is not None:
        check.add("properties", "must not contain NUL or a lone surrogate")
    else:
        text = bytes(msgspec.json.decode(body, type=_PropertiesOnly).properties).decode()
        try:
            parse_object(text)
        except DuplicateMemberError:
            check.add("properties", "has a duplicate key")
    check.raise_if_any()


def new_contact(contact_id: str, project_id: int, write: ContactWrite, now_us: int) -> Contact:
    """The contact that `write` creates.

    Raises:
        ApiError: 422 when its properties are too much.
    """
    empty = Contact(id=contact_id, project_id=project_id, created_us=now_us, updated_us=now_us)
    return apply(empty, write, now_us).contact


def apply(contact: Contact, write: ContactWrite, now_us: int) -> Changed:
    """Write to a contact and return what changed. Times alone are not a change.

    Raises:
        ApiError: 422 when its properties would be too much.
    """
    after = _with_properties(contact, write, now_us)
    for field in IDENTIFIERS:
        after = _with_identifier(after, field, write, now_us)
    changes = differences(contact, after)
    if not changes:
        return Changed(after, {})
    updated_us = max(now_us, contact.updated_us)
    return Changed(msgspec.structs.replace(after, updated_us=updated_us), changes)


def _with_properties(contact: Contact, write: ContactWrite, now_us: int) -> Contact:
    held, sent = contact.values, write.properties
    if write.are_tags:
        sent = {name: value for name, value in sent.items() if held.takes_tag(name)}
    if not sent:
        return contact
    if write.occurred_us is None:
        # A request counts as now, even if a clock was ahead before.
        times = [stamp.at_us for name in sent if (stamp := held.held(name))]
        at_us = max([now_us, *times])
    else:
        at_us = min(now_us, write.occurred_us)
    written: Written = write_values(held, sent, Stamp(at_us, tag=write.are_tags))
    if written.problem is not None:
        raise invalid(FieldProblem("properties", written.problem))
    values = written.values
    return msgspec.structs.replace(
        contact, properties=values.properties, property_times=values.times
    )


def _with_identifier(contact: Contact, field: str, write: ContactWrite, now_us: int) -> Contact:
    value = getattr(write, field)
    if value is UNSET:
        return contact
    held_us = contact.since_us(field) or 0
    if write.occurred_us is not None and min(now_us, write.occurred_us) < held_us:
        return contact
    at_us = max(now_us, held_us) if write.occurred_us is None else min(now_us, write.occurred_us)
    changed: dict[str, Any] = {field: value, f"{field}_us": at_us}
    if field == "email":
        changed["email_original"] = write.email_original
    return msgspec.structs.replace(contact, **changed)


def shown_email(contact: Contact) -> str | None:
    """The address as given."""
    return contact.email_original or contact.email


def differences(before: Contact, after: Contact) -> dict[str, dict[str, PropertyValue | None]]:
    """Fields that differ, in the form of `contact.updated`."""
    fields: list[tuple[str, PropertyValue | None, PropertyValue | None]] = [
        ("external_id", before.external_id, after.external_id),
        ("email", shown_email(before), shown_email(after)),
    ]
    names = dict.fromkeys((*before.properties, *after.properties))
    fields += [
        (f"properties.{name}", before.properties.get(name), after.properties.get(name))
        for name in names
    ]
    return {
        field: {"from": old, "to": new} for field, old, new in fields if not same_value(old, new)
    }


def event_payload(
    contact: Contact,
    source: str,
    changes: dict[str, dict[str, PropertyValue | None]],
    **others: str,
) -> str:
    """Payload of a `sendrealm.contact.*` event, as JSON text.

    Args:
        source: what wrote the contact: `api`, `event`, `import`, `handler`, `merge`, `undo` or
            `erase`.
        changes: empty for anything but an update.
        others: ids of other contacts involved, such as `merged_into`.
    """
    payload: dict[str, Any] = {"contact_id": contact.id, "source": source, **others}
    if changes:
        payload["changes"] = changes
    return msgspec.json.encode(payload).decode()


def clash(fields: tuple[str, ...]) -> ApiError:
    """409: identifiers that belong to another contact of the project."""
    problems = tuple(FieldProblem(field, "belongs to another contact") for field in fields)
    message = f"{' and '.join(fields)}: belongs to another contact of this project"
    return ApiError(ErrorCode.CONFLICT, message, details=problems)


def for_upsert(write: ContactWrite, policies: Policies) -> ContactWrite:
    """The write of an upsert, which links identifiers by the project's policy.

    A placeholder would make one contact of many people: it identifies no contact, and an
    external_id does not join its contact.

    Raises:
        ApiError: 422, the identifier that decides is a placeholder.
    """
    is_placeholder = placeholders(policies.placeholder_identifiers)
    doubtful = [
        field
        for field in IDENTIFIERS
        if isinstance(value := getattr(write, field), str)
        and is_placeholder(IdentityType(field), value)
    ]
    deciding = next((f for f in IDENTIFIERS if isinstance(getattr(write, f), str)), None)
    if deciding in doubtful:
        message = "is a placeholder and not the identifier of a person"
        raise invalid(FieldProblem(str(deciding), message))
    link = policies.link_identifiers is LinkIdentifiers.FILL and "email" not in doubtful
    return msgspec.structs.replace(write, link=link)


def identifier_needed() -> ApiError:
    """422: an upsert without anything to find the contact by."""
    return invalid(FieldProblem("", "one of external_id and email is required with upsert=true"))
