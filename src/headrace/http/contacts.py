"""`/contacts`: the people of a project."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain import timestamps
from headrace.domain.contacts import (
    Contact,
    clash,
    decode_contact,
    for_upsert,
    identifier_needed,
    shown_email,
)
from headrace.domain.errors import FieldProblem, invalid
from headrace.domain.properties import PropertyValue
from headrace.http.answers import event_shown
from headrace.http.context import context_of, json_response
from headrace.http.erasures import PARAMETERS as ERASURE_PARAMETERS
from headrace.http.erasures import erase_contact
from headrace.http.events import not_found
from headrace.http.head import parse_query
from headrace.http.media import read_json_body
from headrace.http.path import path_uuid
from headrace.http.query import PAGE, page_limit, read_flag
from headrace.store.contract import StoreConflictError

#: What the system events of these routes name as their source.
SOURCE = "api"


class ContactInput(msgspec.Struct):
    """Body of a write. In `properties` null removes the member."""

    external_id: str | None = None
    email: str | None = None
    properties: dict[str, str | float | bool | list[str] | None] | None = None
    #: When all this became so; now, if it is left out.
    occurred_at: str | None = None


class ContactShown(msgspec.Struct, kw_only=True):
    """A contact as it is shown; `email` is as it was given."""

    id: str
    external_id: str | None
    email: str | None
    properties: dict[str, PropertyValue]
    created_at: str
    updated_at: str


def contact_shown(contact: Contact) -> ContactShown:
    """A contact as the API shows it."""
    return ContactShown(
        id=contact.id,
        external_id=contact.external_id,
        email=shown_email(contact),
        properties=contact.properties,
        created_at=timestamps.to_text(contact.created_us),
        updated_at=timestamps.to_text(contact.updated_us),
    )


async def create_contact(request: Request) -> Response:
    """`POST /contacts`, and with `?upsert=true` the write to whoever is there already."""
    context = context_of(request)
    upsert = read_flag(parse_query(request.scope["query_string"], ("upsert",)), "upsert")
    write = decode_contact(await read_json_body(request), clears=False)
    if upsert and not (isinstance(write.external_id, str) or isinstance(write.email, str)):
        raise identifier_needed()
    if upsert:
        write = for_upsert(write, context.principal.project.policies)
    services, project_id = context.services, context.principal.project.id
    contacts, now_us = services.store.contacts, services.clock_us()
    created = True
    try:
        if upsert:
            contact, created = await contacts.upsert(project_id, write, now_us, source=SOURCE)
        else:
            contact = await contacts.create(project_id, write, now_us, source=SOURCE)
    except StoreConflictError as error:
        raise clash(error.args) from None
    return json_response({"data": contact_shown(contact)}, 201 if created else 200)


async def get_contact(request: Request) -> Response:
    """`GET /contacts/{id}`."""
    context = context_of(request)
    parse_query(request.scope["query_string"], ())
    found = await context.services.store.contacts.get(
        context.principal.project.id, path_uuid(request)
    )
    if found is None:
        raise not_found()
    return json_response({"data": contact_shown(found)})


async def patch_contact(request: Request) -> Response:
    """`PATCH /contacts/{id}`: null clears an identifier or removes a property."""
    context = context_of(request)
    parse_query(request.scope["query_string"], ())
    contact_id = path_uuid(request)
    write = decode_contact(await read_json_body(request), clears=True)
    services = context.services
    try:
        found = await services.store.contacts.update(
            context.principal.project.id, contact_id, write, services.clock_us(), source=SOURCE
        )
    except StoreConflictError as error:
        raise clash(error.args) from None
    if found is None:
        raise not_found()
    return json_response({"data": contact_shown(found)})


async def delete_contact(request: Request) -> Response:
    """`DELETE /contacts/{id}`: the contact goes, its events stay; with `erase` they go too."""
    context = context_of(request)
    # A parameter we do not know must not be taken for a plain delete.
    query = parse_query(request.scope["query_string"], ("erase", *ERASURE_PARAMETERS))
    contact_id = path_uuid(request)
    if read_flag(query, "erase"):
        return await erase_contact(context, contact_id, query)
    if any(name in query for name in ERASURE_PARAMETERS):
        # Whoever asks for a dry run must not find the contact deleted.
        problems = (
            FieldProblem(name, "goes with erase=true only")
            for name in ERASURE_PARAMETERS
            if name in query
        )
        raise invalid(*problems)
    services = context.services
    gone = await services.store.contacts.delete(
        context.principal.project.id, contact_id, services.clock_us(), source=SOURCE
    )
    if not gone:
        raise not_found()
    return Response(status_code=204)


async def list_events(request: Request) -> Response:
    """`GET /contacts/{id}/events`: newest first, also those of contacts merged into it."""
    context = context_of(request)
    query = parse_query(request.scope["query_string"], PAGE)
    limit = page_limit(query)
    contact_id, project_id = path_uuid(request), context.principal.project.id
    scope = f"events of contact {project_id} {contact_id}"
    cursors = context.services.cursors
    before = cursors.read(query["cursor"], scope) if "cursor" in query else None
    page = await context.services.store.events.of_contact(
        project_id, contact_id, before=before, limit=limit
    )
    if page is None:
        raise not_found()
    following = None if page.next_before is None else cursors.make(page.next_before, scope)
    shown = [event_shown(event) for event in page.events]
    return json_response({"data": shown, "next_cursor": following})
