"""`POST /contacts/batch`: up to 1,000 contacts, each upserted and reported separately."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.access.policies import Policies
from headrace.domain.contacts.contact import ContactWrite, decode_contact, for_upsert
from headrace.domain.errors import ApiError, FieldProblem, invalid
from headrace.domain.events.problems import read_object
from headrace.domain.json_fields import FieldReader, kind_of
from headrace.http.contacts.contacts import SOURCE, ContactInput
from headrace.http.ingest.batch import IMPORT_HEADER, slice_elements, split_lines
from headrace.http.routing.context import context_of, json_response
from headrace.http.routing.media import read_body
from headrace.http.routing.parameters import flag
from headrace.http.routing.route import NDJSON, json_body, media_is, ndjson_body, post, whole
from headrace.http.routing.schema import Id, about
from headrace.http.server.head import Head
from headrace.http.server.wire import ErrorText, error_object
from headrace.store.contract.contacts import UpsertOutcome

CONTACTS_MAX = 1000


class ContactBatchInput(msgspec.Struct, forbid_unknown_fields=True):
    """Contacts to write; each is checked separately, and a bad one does not affect the others."""

    contacts: Annotated[list[ContactInput], about(minItems=1, maxItems=CONTACTS_MAX)]


class ContactOutcome(StrEnum):
    """Outcome for one contact of a batch."""

    CREATED = "created"
    UPDATED = "updated"
    #: The contact was already as sent.
    UNCHANGED = "unchanged"
    REJECTED = "rejected"


class WrittenContact(msgspec.Struct):
    """Id of the contact; in a dry run the id of a contact to be created has no meaning."""

    id: Id


class ContactItem(msgspec.Struct, omit_defaults=True):
    """Result for one contact of a batch: `data`, or `error` as a single request would get it."""

    status: int
    outcome: ContactOutcome
    data: WrittenContact | None = None
    error: ErrorText | None = None


class ContactBatchResponse(msgspec.Struct):
    """Response to a batch: one item per contact, in the order sent."""

    data: list[ContactItem]
    created: int
    updated: int
    unchanged: int
    rejected: int


async def upsert_contacts(request: Request) -> Response:
    """`POST /contacts/batch`; with `?dry_run=true` nothing is written."""
    context = context_of(request)
    dry_run = context.query.get("dry_run", False)
    head: Head = request.scope["state"]["head"]
    body = await read_body(request)
    texts = _texts(body, ndjson=media_is(NDJSON)(head))
    decoded = [_decode(text, context.principal.project.policies) for text in texts]
    services = context.services
    outcomes = await services.store.contacts.upsert_many(
        context.project_id,
        [write for write in decoded if isinstance(write, ContactWrite)],
        services.clock_us(),
        source="import" if head.headers.get(IMPORT_HEADER) == b"import" else SOURCE,
        dry_run=dry_run,
    )
    return json_response(_batch_response(decoded, outcomes))


def _texts(body: bytes, *, ndjson: bool) -> list[bytes]:
    """The JSON texts of the contacts.

    Raises:
        ApiError: 400 or 422 about the body as a whole.
    """
    texts = split_lines(body) if ndjson else _elements(body)
    if not 1 <= len(texts) <= CONTACTS_MAX:
        message = f"must be 1 to {CONTACTS_MAX} contacts, got {'more' if texts else 'none'}"
        raise invalid(FieldProblem("contacts", message))
    return texts


def _elements(body: bytes) -> list[bytes]:
    check = FieldReader(read_object(body), ("contacts",), "a batch")
    check.require("contacts")
    sent = check.members.get("contacts")
    if sent is not None and not isinstance(sent, list):
        check.add("contacts", f"must be an array of contacts, got {kind_of(sent)}")
    check.raise_if_any()
    return slice_elements(body.decode())


def _decode(line: bytes, policies: Policies) -> ContactWrite | ApiError:
    try:
        write = decode_contact(line, clears=False)
        if not (isinstance(write.external_id, str) or isinstance(write.email, str)):
            raise invalid(FieldProblem("", "external_id or email is required"))
        return for_upsert(write, policies)
    except ApiError as error:
        return error


def _batch_response(
    decoded: Sequence[ContactWrite | ApiError], outcomes: Sequence[UpsertOutcome]
) -> ContactBatchResponse:
    following = iter(outcomes)
    items = [_item(each if isinstance(each, ApiError) else next(following)) for each in decoded]
    counts = {outcome: sum(item.outcome is outcome for item in items) for outcome in ContactOutcome}
    return ContactBatchResponse(items, **{outcome.value: n for outcome, n in counts.items()})


def _item(outcome: UpsertOutcome) -> ContactItem:
    if isinstance(outcome, ApiError):
        error = error_object(outcome).error
        return ContactItem(outcome.status, ContactOutcome.REJECTED, error=error)
    written = ContactOutcome.UPDATED if outcome.changed else ContactOutcome.UNCHANGED
    if outcome.created:
        written = ContactOutcome.CREATED
    status = 201 if outcome.created else 200
    return ContactItem(status, written, data=WrittenContact(outcome.contact.id))


ROUTES = (
    post(
        "/contacts/batch",
        upsert_contacts,
        name="upsertContacts",
        summary=f"Create or update up to {CONTACTS_MAX} contacts",
        description="Each contact is found by its external_id, else by its email, and written "
        "separately; a bad one does not affect the others.",
        parameters=(flag("dry_run", "Write nothing, only report the outcome."),),
        bodies=(
            *json_body(
                ContactBatchInput,
                example={"contacts": [{"external_id": "user_42", "email": "mike@example.com"}]},
            ),
            ndjson_body("One ContactInput per line."),
        ),
        responses=(whole("One result per contact, in the order sent.", ContactBatchResponse),),
    ),
)
