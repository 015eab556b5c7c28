"""`GET /contacts`: which contacts to list, and pages of them."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.contacts.properties import NAME_CHARACTERS_MAX
from headrace.domain.contacts.search import SEARCH_CHARACTERS_MAX, check_search
from headrace.domain.email import normalize_email
from headrace.domain.events.fields import check_external_id
from headrace.http.contacts.contacts import ContactResponse, contact_response
from headrace.http.routing.context import Context, context_of, json_response
from headrace.http.routing.parameters import PAGE, text, time, uuid
from headrace.http.routing.route import Parameter, get, page
from headrace.http.routing.schema import EMAIL, EXTERNAL_ID
from headrace.store.contract.contacts import ContactFilter

PROPERTY_PREFIX = "property."
PROPERTY_FILTERS_MAX = 10


def _check_property(name: str) -> str:
    if not 1 <= len(name) <= NAME_CHARACTERS_MAX or "\x00" in name:
        message = (
            f"has an invalid property name: it must have 1 to {NAME_CHARACTERS_MAX} characters"
        )
        raise ValueError(message)
    return name


_PARAMETERS = (
    text("external_id", check_external_id, "Only the contact with this id.", **EXTERNAL_ID),
    text("email", normalize_email, "Of the contact with this address, in any case.", **EMAIL),
    uuid("audience_id", "In this audience."),
    uuid("topic_id", "Subscribed to it, by choice or by default."),
    text(
        "search",
        check_search,
        "Prefix of external_id or email.",
        minLength=1,
        maxLength=SEARCH_CHARACTERS_MAX,
    ),
    time("created_after", "Created at or after this time."),
    time("created_before", "Created before this time."),
    Parameter(
        name=PROPERTY_PREFIX,
        is_prefix=True,
        count_max=PROPERTY_FILTERS_MAX,
        schema={"type": "string"},
        check=_check_property,
        description="`property.<name>=<text>`: a string or a list item equals the text; a "
        f"number or a boolean equals the parsed text. At most {PROPERTY_FILTERS_MAX}.",
    ),
)
#: Parameter -> field of the filter, where they differ.
_FIELDS = {"created_after": "created_after_us", "created_before": "created_before_us"}


async def list_contacts(request: Request) -> Response:
    """`GET /contacts`: newest first."""
    context = context_of(request)
    values = {
        _FIELDS.get(name, name): value
        for name, value in context.query.items()
        if name not in ("limit", "cursor", PROPERTY_PREFIX)
    }
    properties = context.query.get(PROPERTY_PREFIX, ())
    return await contact_page(context, ContactFilter(**values, properties=properties))


async def contact_page(context: Context, wanted: ContactFilter) -> Response:
    """The requested page of a list of contacts."""
    limit, project_id = context.limit, context.project_id
    scope = f"contacts {project_id} {msgspec.json.encode(wanted).decode()}"
    found = await context.services.store.contacts.list(
        project_id, wanted, before=context.before(scope), limit=limit
    )
    cursors = context.services.cursors
    following = None if found.next_before is None else cursors.make(found.next_before, scope)
    shown = [contact_response(contact) for contact in found.contacts]
    return json_response({"data": shown, "next_cursor": following})


ROUTES = (
    get(
        "/contacts",
        list_contacts,
        name="listContacts",
        summary="List contacts",
        description="All given filters must match.",
        parameters=(*_PARAMETERS, *PAGE),
        responses=(page(ContactResponse),),
    ),
)
