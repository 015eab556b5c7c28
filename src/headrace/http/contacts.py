"""`/contacts`: the people of a project."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain import timestamps
from headrace.domain.contacts import (
    Contact,
    clash,
    decode_contact,
    identifier_needed,
    shown_email,
)
from headrace.domain.email import normalize_email
from headrace.domain.errors import FieldProblem, invalid
from headrace.domain.event_fields import check_external_id
from headrace.domain.ids import uuid_text
from headrace.domain.properties import NAME_CHARACTERS_MAX, PropertyValue
from headrace.http.context import context_of, json_response
from headrace.http.events import not_found, read_uuid
from headrace.http.head import parse_query
from headrace.http.media import read_json_body
from headrace.http.query import PAGE, page_limit
from headrace.store.contract import StoreConflictError
from headrace.store.contract_contacts import ContactFilter

#: What the system events of these routes name as their source.
SOURCE = "api"
PROPERTY_PREFIX = "property."
PROPERTY_FILTERS_MAX = 10

_FILTERS: dict[str, tuple[str, Any]] = {
    "external_id": ("external_id", check_external_id),
    "email": ("email", normalize_email),
    "created_after": ("created_after_us", timestamps.parse),
    "created_before": ("created_before_us", timestamps.parse),
}


class ContactInput(msgspec.Struct):
    """Body of a write. In `properties` null removes the member."""

    external_id: str | None = None
    email: str | None = None
    properties: dict[str, str | float | bool | list[str] | None] | None = None


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
    upsert = _upsert(parse_query(request.scope["query_string"], ("upsert",)))
    write = decode_contact(await read_json_body(request), clears=False)
    if upsert and not (isinstance(write.external_id, str) or isinstance(write.email, str)):
        raise identifier_needed()
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


def _upsert(query: dict[str, str]) -> bool:
    text = query.get("upsert", "false")
    if text not in ("true", "false"):
        raise invalid(FieldProblem("upsert", "must be true or false"))
    return text == "true"


async def list_contacts(request: Request) -> Response:
    """`GET /contacts`: newest first."""
    context = context_of(request)
    query_string: bytes = request.scope["query_string"]
    properties = _property_names(query_string)
    query = parse_query(query_string, (*_FILTERS, *properties, *PAGE))
    limit = page_limit(query)
    wanted = _filter(query, properties)
    project_id = context.principal.project.id
    scope = f"contacts {project_id} {msgspec.json.encode(wanted).decode()}"
    cursors = context.services.cursors
    before = cursors.read(query["cursor"], scope) if "cursor" in query else None
    page = await context.services.store.contacts.list(
        project_id, wanted, before=before, limit=limit
    )
    following = None if page.next_before is None else cursors.make(page.next_before, scope)
    shown = [contact_shown(contact) for contact in page.contacts]
    return json_response({"data": shown, "next_cursor": following})


def _property_names(query_string: bytes) -> tuple[str, ...]:
    """Parameters that name a property. Whatever else is wrong, `parse_query` finds."""
    pairs = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)
    names = dict.fromkeys(name for name, _ in pairs if name.startswith(PROPERTY_PREFIX))
    if len(names) > PROPERTY_FILTERS_MAX:
        raise invalid(FieldProblem("query", f"has more than {PROPERTY_FILTERS_MAX} properties"))
    return tuple(names)


def _filter(query: dict[str, str], properties: tuple[str, ...]) -> ContactFilter:
    values: dict[str, Any] = {}
    problems: list[FieldProblem] = []
    for name, (field, rule) in _FILTERS.items():
        if name not in query:
            continue
        try:
            values[field] = rule(query[name])
        except ValueError as error:
            problems.append(FieldProblem(name, str(error)))
    for name in properties:
        length = len(name) - len(PROPERTY_PREFIX)
        if not 1 <= length <= NAME_CHARACTERS_MAX or "\x00" in name:
            problems.append(FieldProblem("query", "names a property that cannot be"))
    if problems:
        raise invalid(*problems)
    wanted = tuple((name.removeprefix(PROPERTY_PREFIX), query[name]) for name in properties)
    return ContactFilter(**values, properties=wanted)


def _contact_id(request: Request) -> str:
    return uuid_text(read_uuid(request.path_params["id"]))


async def get_contact(request: Request) -> Response:
    """`GET /contacts/{id}`."""
    context = context_of(request)
    parse_query(request.scope["query_string"], ())
    found = await context.services.store.contacts.get(
        context.principal.project.id, _contact_id(request)
    )
    if found is None:
        raise not_found()
    return json_response({"data": contact_shown(found)})


async def patch_contact(request: Request) -> Response:
    """`PATCH /contacts/{id}`: null clears an identifier or removes a property."""
    context = context_of(request)
    parse_query(request.scope["query_string"], ())
    contact_id = _contact_id(request)
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
    """`DELETE /contacts/{id}`: the contact goes, its events stay."""
    context = context_of(request)
    # A parameter we do not know must not be taken for a plain delete.
    parse_query(request.scope["query_string"], ())
    services = context.services
    gone = await services.store.contacts.delete(
        context.principal.project.id, _contact_id(request), services.clock_us(), source=SOURCE
    )
    if not gone:
        raise not_found()
    return Response(status_code=204)
