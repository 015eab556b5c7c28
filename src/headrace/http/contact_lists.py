"""`GET /contacts`: which contacts to list, and pages of them."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain import timestamps
from headrace.domain.contact_search import check_search
from headrace.domain.email import normalize_email
from headrace.domain.errors import FieldProblem, invalid
from headrace.domain.event_fields import check_contact_id, check_external_id
from headrace.domain.properties import NAME_CHARACTERS_MAX
from headrace.http.contacts import contact_shown
from headrace.http.context import Context, context_of, json_response
from headrace.http.head import parse_query
from headrace.http.query import PAGE, page_limit
from headrace.store.contract_contacts import ContactFilter

PROPERTY_PREFIX = "property."
PROPERTY_FILTERS_MAX = 10

#: Parameter -> field of `ContactFilter` and rule.
_FILTERS: dict[str, tuple[str, Any]] = {
    "external_id": ("external_id", check_external_id),
    "email": ("email", normalize_email),
    "audience_id": ("audience_id", check_contact_id),
    "topic_id": ("topic_id", check_contact_id),
    "search": ("search", check_search),
    "created_after": ("created_after_us", timestamps.parse),
    "created_before": ("created_before_us", timestamps.parse),
}


async def list_contacts(request: Request) -> Response:
    """`GET /contacts`: newest first."""
    query_string: bytes = request.scope["query_string"]
    properties = _property_names(query_string)
    query = parse_query(query_string, (*_FILTERS, *properties, *PAGE))
    return await contact_page(context_of(request), _filter(query, properties), query)


async def contact_page(context: Context, wanted: ContactFilter, query: dict[str, str]) -> Response:
    """One page of a list of contacts.

    Args:
        query: checked parameters; `limit` and `cursor` are read from it.
    """
    limit = page_limit(query)
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
