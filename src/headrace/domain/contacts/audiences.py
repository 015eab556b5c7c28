"""Audiences: lists of contacts that a project keeps."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.domain.errors import ApiError, FieldProblem, invalid
from headrace.domain.events.fields import check_contact_id
from headrace.domain.events.problems import read_object
from headrace.domain.json_fields import FieldReader, kind_of, text_problem
from headrace.domain.labels import check_description, check_name

AUDIENCE_ENTERED = "sendrealm.audience.entered"
AUDIENCE_EXITED = "sendrealm.audience.exited"

#: Audiences of one project, and thereby of one contact.
AUDIENCES_MAX = 1000
#: Contacts that one request can add.
CONTACT_IDS_MAX = 1000
MEMBERS = ("name", "description")


class Audience(msgspec.Struct, frozen=True, kw_only=True):
    """A list of contacts."""

    id: str
    project_id: int
    name: str
    description: str
    #: Unique within a project: it is the cursor of lists.
    created_us: int
    updated_us: int


class AudienceFields(msgspec.Struct, frozen=True, kw_only=True):
    """Checked fields to write; None leaves one as it is."""

    name: str | None = None
    description: str | None = None


class Entered(msgspec.Struct, frozen=True):
    """Outcome of adding contacts."""

    #: Contacts that were not members before.
    entered: int
    already_in: int


def decode_audience(body: bytes, *, required: bool) -> AudienceFields:
    """Decode and check the body of a write.

    Args:
        body: JSON text of an object.
        required: whether there must be a name.

    Raises:
        ApiError: with every problem listed.
    """
    check = FieldReader(read_object(body), MEMBERS, "an audience")
    if required:
        check.require("name")
    fields = AudienceFields(
        name=check.text("name", check_name),
        description=check.text("description", check_description),
    )
    check.raise_if_any()
    return fields


def decode_contact_ids(body: bytes) -> tuple[str, ...]:
    """Decode `{"contact_ids": […]}`; returns the ids in canonical form, in the order sent.

    Raises:
        ApiError: with every problem listed.
    """
    check = FieldReader(read_object(body), ("contact_ids",), "this request")
    check.require("contact_ids")
    sent: Any = check.members.get("contact_ids")
    found: list[str] = []
    if sent is not None and not isinstance(sent, list):
        check.add("contact_ids", f"must be an array of ids, got {kind_of(sent)}")
    elif sent is not None and not 1 <= len(sent) <= CONTACT_IDS_MAX:
        check.add("contact_ids", f"must have 1 to {CONTACT_IDS_MAX} items, got {len(sent)}")
    else:
        for index, item in enumerate(sent or ()):
            problem = text_problem(item)
            try:
                if problem is not None:
                    raise ValueError(problem)
                found.append(check_contact_id(item))
            except ValueError as error:
                check.add(f"contact_ids[{index}]", str(error))
    check.raise_if_any()
    return tuple(found)


def unknown_contacts(places: list[int]) -> ApiError:
    """422: these positions of `contact_ids` have ids without a contact in the project."""
    message = "is not the id of a contact of this project"
    return invalid(*(FieldProblem(f"contact_ids[{place}]", message) for place in places))


def audience_payload(audience_id: str, name: str, contact_id: str) -> str:
    """Payload of a `sendrealm.audience.*` event, as JSON text."""
    payload = {"audience_id": audience_id, "audience_name": name, "contact_id": contact_id}
    return msgspec.json.encode(payload).decode()
