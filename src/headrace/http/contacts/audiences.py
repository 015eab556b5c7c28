"""`/audiences`: lists of contacts."""

from __future__ import annotations

from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain import timestamps
from headrace.domain.contacts.audiences import (
    AUDIENCES_MAX,
    CONTACT_IDS_MAX,
    Audience,
    decode_audience,
    decode_contact_ids,
    unknown_contacts,
)
from headrace.domain.errors import ApiError, ErrorCode
from headrace.http.contacts.contacts import ContactResponse
from headrace.http.contacts.lists import contact_page
from headrace.http.contacts.topics import name_taken
from headrace.http.routing.context import Context, context_of, json_response
from headrace.http.routing.deletion import FORCE, used_by_automations
from headrace.http.routing.media import read_body
from headrace.http.routing.parameters import PAGE
from headrace.http.routing.path import not_found, path_uuid
from headrace.http.routing.route import (
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
from headrace.http.routing.schema import Description, Id, Name, Time, about
from headrace.store.access.automation_use import UsedByAutomationsError
from headrace.store.contacts.groups.audiences import (
    Audiences,
    TooManyAudiencesError,
    UnknownContactsError,
)
from headrace.store.contract.contacts import ContactFilter
from headrace.store.contract.errors import StoreConflictError

_UNIQUE = about("Unique in the project; surrounding whitespace is removed.")


class AudienceCreate(msgspec.Struct, forbid_unknown_fields=True):
    """A new audience."""

    name: Annotated[Name, _UNIQUE]
    description: Description | None = None


class AudienceUpdate(msgspec.Struct, forbid_unknown_fields=True):
    """A change of an audience. Fields that are absent or null are not changed."""

    name: Annotated[Name | None, _UNIQUE] = None
    description: Description | None = None


class AudienceResponse(msgspec.Struct, kw_only=True):
    """An audience."""

    id: Id
    name: str
    description: str
    created_at: Time
    updated_at: Time


class ContactIdsInput(msgspec.Struct, forbid_unknown_fields=True):
    """Contacts to add; repeated ids count once."""

    contact_ids: Annotated[list[Id], about(minItems=1, maxItems=CONTACT_IDS_MAX)]


class EnteredContactsResponse(msgspec.Struct, kw_only=True):
    """Result of adding contacts."""

    audience_id: Id
    entered: Annotated[int, about("Contacts that were added.")]
    already_in: int


def audience_response(audience: Audience) -> AudienceResponse:
    """An audience as the API shows it."""
    return AudienceResponse(
        id=audience.id,
        name=audience.name,
        description=audience.description,
        created_at=timestamps.to_text(audience.created_us),
        updated_at=timestamps.to_text(audience.updated_us),
    )


async def create_audience(request: Request) -> Response:
    """`POST /audiences`."""
    context = context_of(request)
    fields = decode_audience(await read_body(request), required=True)
    try:
        made = await _store(context).create(_project(context), fields, _now_us(context))
    except StoreConflictError:
        raise name_taken("audience") from None
    except TooManyAudiencesError:
        message = f"A project has at most {AUDIENCES_MAX} audiences; delete one first."
        raise ApiError(ErrorCode.CONFLICT, message) from None
    return json_response({"data": audience_response(made)}, 201)


async def list_audiences(request: Request) -> Response:
    """`GET /audiences`: newest first."""
    context = context_of(request)
    limit = context.limit
    scope, cursors = f"audiences {_project(context)}", context.services.cursors
    before = context.before(scope)
    found = await _store(context).list(_project(context), before=before, limit=limit + 1)
    following = cursors.make(found[limit - 1].created_us, scope) if len(found) > limit else None
    shown = [audience_response(audience) for audience in found[:limit]]
    return json_response({"data": shown, "next_cursor": following})


async def get_audience(request: Request) -> Response:
    """`GET /audiences/{id}`."""
    audience = await _audience(request, context_of(request))
    return json_response({"data": audience_response(audience)})


async def patch_audience(request: Request) -> Response:
    """`PATCH /audiences/{id}`: members that are absent or null stay as they are."""
    context = context_of(request)
    audience_id = path_uuid(request)
    fields = decode_audience(await read_body(request), required=False)
    try:
        changed = await _store(context).update(
            _project(context), audience_id, fields, _now_us(context)
        )
    except StoreConflictError:
        raise name_taken("audience") from None
    return json_response({"data": audience_response(_found(changed))})


async def delete_audience(request: Request) -> Response:
    """`DELETE /audiences/{id}`: gone at once; its members are removed in the background."""
    context = context_of(request)
    audience_id = path_uuid(request)
    force = context.query.get("force", False)
    try:
        removed = await _store(context).delete(
            _project(context), audience_id, _now_us(context), force=force
        )
    except UsedByAutomationsError as error:
        raise used_by_automations(error) from None
    if not removed:
        raise not_found()
    return Response(status_code=204)


async def list_contacts_of_audience(request: Request) -> Response:
    """`GET /audiences/{id}/contacts`: newest contacts first."""
    context = context_of(request)
    audience = await _audience(request, context)
    return await contact_page(context, ContactFilter(audience_id=audience.id))


async def add_contacts(request: Request) -> Response:
    """`POST /audiences/{id}/contacts`: all of them, or none when one does not exist."""
    context = context_of(request)
    audience_id = path_uuid(request)
    contact_ids = decode_contact_ids(await read_body(request))
    try:
        entered = await _store(context).enter(
            _project(context), audience_id, contact_ids, _now_us(context)
        )
    except UnknownContactsError as error:
        raise unknown_contacts(error.args[0]) from None
    if entered is None:
        raise not_found()
    shown = EnteredContactsResponse(
        audience_id=audience_id, entered=entered.entered, already_in=entered.already_in
    )
    return json_response({"data": shown})


async def remove_contact(request: Request) -> Response:
    """`DELETE /audiences/{id}/contacts/{contact_id}`."""
    context = context_of(request)
    audience_id, contact_id = path_uuid(request), path_uuid(request, "contact_id")
    if not await _store(context).exit(_project(context), audience_id, contact_id, _now_us(context)):
        raise not_found()
    return Response(status_code=204)


async def _audience(request: Request, context: Context) -> Audience:
    return _found(await _store(context).get(_project(context), path_uuid(request)))


def _found(audience: Audience | None) -> Audience:
    if audience is None:
        raise not_found()
    return audience


def _store(context: Context) -> Audiences:
    return context.services.store.audiences


def _project(context: Context) -> int:
    return context.project_id


def _now_us(context: Context) -> int:
    return context.services.clock_us()


ROUTES = (
    post(
        "/audiences",
        create_audience,
        name="createAudience",
        summary="Create an audience",
        description=f"A project has at most {AUDIENCES_MAX} audiences.",
        bodies=json_body(AudienceCreate, example={"name": "Beta testers"}),
        responses=(created("Created.", AudienceResponse),),
        errors=(ErrorCode.CONFLICT,),
    ),
    get(
        "/audiences",
        list_audiences,
        name="listAudiences",
        summary="List audiences",
        parameters=PAGE,
        responses=(page(AudienceResponse),),
    ),
    get(
        "/audiences/{id}",
        get_audience,
        name="getAudience",
        summary="Get an audience",
        responses=(ok("The audience.", AudienceResponse),),
    ),
    patch(
        "/audiences/{id}",
        patch_audience,
        name="patchAudience",
        summary="Change an audience",
        description="Fields that are absent or null are not changed.",
        bodies=json_body(AudienceUpdate, example={"name": "Early testers"}),
        responses=(ok("The updated audience.", AudienceResponse),),
        errors=(ErrorCode.CONFLICT,),
    ),
    delete(
        "/audiences/{id}",
        delete_audience,
        name="deleteAudience",
        summary="Delete an audience",
        description="The contacts are kept. They are removed from the audience in the background, "
        "each with a `sendrealm.audience.exited`.",
        parameters=(FORCE,),
        responses=(no_content("Deleted."),),
        errors=(ErrorCode.CONFLICT,),
    ),
    get(
        "/audiences/{id}/contacts",
        list_contacts_of_audience,
        name="listContactsOfAudience",
        summary="List the contacts of an audience",
        parameters=PAGE,
        responses=(page(ContactResponse, "Newest contacts first."),),
    ),
    post(
        "/audiences/{id}/contacts",
        add_contacts,
        name="addContactsToAudience",
        summary="Add contacts to an audience",
        description="Adds all contacts, or none if one of the ids does not exist.",
        bodies=json_body(ContactIdsInput),
        responses=(ok("All contacts are in the audience.", EnteredContactsResponse),),
    ),
    delete(
        "/audiences/{id}/contacts/{contact_id}",
        remove_contact,
        name="removeContactFromAudience",
        summary="Remove a contact from an audience",
        responses=(no_content("The contact is not in the audience."),),
    ),
)
