"""`/contacts`: the people of a project."""

from __future__ import annotations

from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain import timestamps
from headrace.domain.contacts.contact import (
    Contact,
    clash,
    decode_contact,
    for_upsert,
    identifier_needed,
    shown_email,
)
from headrace.domain.contacts.properties import NAME_CHARACTERS_MAX, PROPERTIES_MAX, PropertyValue
from headrace.domain.errors import ErrorCode, FieldProblem, invalid
from headrace.http.contacts.erasures import PARAMETERS as ERASURE_PARAMETERS
from headrace.http.contacts.erasures import ErasureResponse, erase_contact
from headrace.http.events.responses import Event, event_response
from headrace.http.routing.context import context_of, json_response
from headrace.http.routing.media import read_body
from headrace.http.routing.parameters import PAGE, flag
from headrace.http.routing.path import not_found, path_uuid
from headrace.http.routing.route import (
    accepted,
    created,
    delete,
    get,
    json_body,
    no_content,
    ok,
    page,
    patch,
    post,
)
from headrace.http.routing.schema import Email, ExternalId, Id, Time, about
from headrace.store.contract.errors import StoreConflictError

#: What the system events of these routes name as their source.
SOURCE = "api"


class ContactInput(msgspec.Struct, forbid_unknown_fields=True):
    """A write to a contact. Absent fields are not changed."""

    external_id: ExternalId | None = None
    email: Email | None = None
    properties: Annotated[
        dict[str, str | float | bool | list[str] | None] | None,
        about(
            "Merged by name; null removes a property. At most 16 KiB as JSON.",
            maxProperties=PROPERTIES_MAX,
            propertyNames={"minLength": 1, "maxLength": NAME_CHARACTERS_MAX},
        ),
    ] = None
    occurred_at: Annotated[
        Time | None,
        about(
            "When these values became valid; now if omitted. Values that were set later are kept."
        ),
    ] = None


class ContactResponse(msgspec.Struct, kw_only=True):
    """A contact; `email` has the original spelling."""

    id: Id
    external_id: str | None
    email: str | None
    properties: dict[str, PropertyValue]
    created_at: Time
    updated_at: Time


def contact_response(contact: Contact) -> ContactResponse:
    """A contact as the API shows it."""
    return ContactResponse(
        id=contact.id,
        external_id=contact.external_id,
        email=shown_email(contact),
        properties=contact.properties,
        created_at=timestamps.to_text(contact.created_us),
        updated_at=timestamps.to_text(contact.updated_us),
    )


async def create_contact(request: Request) -> Response:
    """`POST /contacts`, and with `?upsert=true` the update of an existing contact."""
    context = context_of(request)
    upsert = context.query.get("upsert", False)
    write = decode_contact(await read_body(request), clears=False)
    if upsert and not (isinstance(write.external_id, str) or isinstance(write.email, str)):
        raise identifier_needed()
    if upsert:
        write = for_upsert(write, context.principal.project.policies)
    services, project_id = context.services, context.project_id
    contacts, now_us = services.store.contacts, services.clock_us()
    created = True
    try:
        if upsert:
            contact, created = await contacts.upsert(project_id, write, now_us, source=SOURCE)
        else:
            contact = await contacts.create(project_id, write, now_us, source=SOURCE)
    except StoreConflictError as error:
        raise clash(error.args) from None
    return json_response({"data": contact_response(contact)}, 201 if created else 200)


async def get_contact(request: Request) -> Response:
    """`GET /contacts/{id}`."""
    context = context_of(request)
    found = await context.services.store.contacts.get(context.project_id, path_uuid(request))
    if found is None:
        raise not_found()
    return json_response({"data": contact_response(found)})


async def patch_contact(request: Request) -> Response:
    """`PATCH /contacts/{id}`: null clears an identifier or removes a property."""
    context = context_of(request)
    contact_id = path_uuid(request)
    write = decode_contact(await read_body(request), clears=True)
    services = context.services
    try:
        found = await services.store.contacts.update(
            context.project_id, contact_id, write, services.clock_us(), source=SOURCE
        )
    except StoreConflictError as error:
        raise clash(error.args) from None
    if found is None:
        raise not_found()
    return json_response({"data": contact_response(found)})


async def delete_contact(request: Request) -> Response:
    """`DELETE /contacts/{id}`: deletes the contact, keeps its events; `erase` removes them too."""
    context = context_of(request)
    contact_id = path_uuid(request)
    if context.query.get("erase", False):
        return await erase_contact(context, contact_id)
    given = [each.name for each in ERASURE_PARAMETERS if each.name in context.query]
    if given:
        # A request for a dry run must not delete the contact.
        raise invalid(*(FieldProblem(name, "is allowed with erase=true only") for name in given))
    services = context.services
    gone = await services.store.contacts.delete(
        context.project_id, contact_id, services.clock_us(), source=SOURCE
    )
    if not gone:
        raise not_found()
    return Response(status_code=204)


async def list_events(request: Request) -> Response:
    """`GET /contacts/{id}/events`: newest first, also those of contacts merged into it."""
    context = context_of(request)
    limit = context.limit
    contact_id, project_id = path_uuid(request), context.project_id
    scope = f"events of contact {project_id} {contact_id}"
    cursors = context.services.cursors
    before = context.before(scope)
    found = await context.services.store.events.of_contact(
        project_id, contact_id, before=before, limit=limit
    )
    if found is None:
        raise not_found()
    following = None if found.next_before is None else cursors.make(found.next_before, scope)
    shown = [event_response(event) for event in found.events]
    return json_response({"data": shown, "next_cursor": following})


_EXAMPLE = {"external_id": "user_42", "email": "mike@example.com", "properties": {"plan": "pro"}}

ROUTES = (
    post(
        "/contacts",
        create_contact,
        name="createContact",
        summary="Create a contact, or update an existing one",
        parameters=(
            flag(
                "upsert",
                "Update the contact with this external_id, else with this email, if there is one.",
            ),
        ),
        bodies=json_body(ContactInput, example=_EXAMPLE),
        responses=(
            created("Created.", ContactResponse),
            ok("With upsert: the contact existed and was updated.", ContactResponse),
        ),
        errors=(ErrorCode.CONFLICT,),
    ),
    get(
        "/contacts/{id}",
        get_contact,
        name="getContact",
        summary="Get a contact",
        description="The id of a merged contact resolves to the surviving contact.",
        responses=(ok("The contact.", ContactResponse),),
    ),
    patch(
        "/contacts/{id}",
        patch_contact,
        name="patchContact",
        summary="Change a contact",
        description="null clears an identifier or removes a property.",
        bodies=json_body(ContactInput, example={"properties": {"plan": "pro", "trial": None}}),
        responses=(ok("The updated contact.", ContactResponse),),
        errors=(ErrorCode.CONFLICT,),
    ),
    delete(
        "/contacts/{id}",
        delete_contact,
        name="deleteContact",
        summary="Delete a contact, or erase the person",
        description="Events of a deleted contact are kept, unless the person is erased.",
        parameters=(
            flag("erase", "Remove all data about the person, events included."),
            *ERASURE_PARAMETERS,
        ),
        responses=(
            no_content("Deleted."),
            ok("With erase: the person is erased.", ErasureResponse),
            accepted("With erase: the job is still running, see /erasures/{id}.", ErasureResponse),
        ),
    ),
    get(
        "/contacts/{id}/events",
        list_events,
        name="listEventsOfContact",
        summary="List the events of a contact",
        description="Includes events of contacts that were merged into it.",
        parameters=PAGE,
        responses=(page(Event),),
    ),
)
