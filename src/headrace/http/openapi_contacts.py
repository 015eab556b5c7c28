"""Description of `/contacts`."""

from __future__ import annotations

from typing import Any

from headrace.domain.contact_search import SEARCH_CHARACTERS_MAX
from headrace.domain.errors import ErrorCode
from headrace.domain.event_fields import EXTERNAL_ID_CHARACTERS_MAX
from headrace.domain.properties import NAME_CHARACTERS_MAX, PROPERTIES_MAX
from headrace.http.contacts import ContactInput, ContactShown
from headrace.http.openapi_parts import (
    BODY,
    KEYED,
    answer,
    data,
    failures,
    json_body,
    listing,
    parameter,
    path_id,
    ref,
)

TYPES = (ContactInput, ContactShown)

_EXTERNAL_ID = {"minLength": 1, "maxLength": EXTERNAL_ID_CHARACTERS_MAX}
_EMAIL = {"format": "email", "maxLength": 254}
_FLAG = {"type": "string", "enum": ["true", "false"]}
_TIME = {"type": "string", "format": "date-time"}
_WRITE = (*KEYED, *BODY, ErrorCode.CONFLICT, ErrorCode.STORAGE_UNAVAILABLE)


def refine(schemas: dict[str, Any]) -> None:
    """Add what the types cannot say."""
    properties: dict[str, Any] = {
        "type": ["object", "null"],
        "maxProperties": PROPERTIES_MAX,
        "propertyNames": {"minLength": 1, "maxLength": NAME_CHARACTERS_MAX},
        "additionalProperties": {
            "anyOf": [
                {"type": ["string", "number", "boolean", "null"]},
                {"type": "array", "items": {"type": "string"}},
            ]
        },
        "description": "Merged member by member; null removes one. At most 16 KiB as JSON.",
    }
    schemas["ContactInput"] |= {
        "additionalProperties": False,
        "properties": {
            "external_id": {"type": ["string", "null"], **_EXTERNAL_ID},
            "email": {"type": ["string", "null"], **_EMAIL},
            "properties": properties,
            "occurred_at": {
                "type": ["string", "null"],
                "format": "date-time",
                "description": "When all this became so. What happened later is left as it is.",
            },
        },
    }


def paths() -> dict[str, Any]:
    """Paths by template."""
    contact, erasure = data(ref("ContactShown")), data(ref("ErasureShown"))
    one = {**failures(*KEYED, ErrorCode.NOT_FOUND, ErrorCode.VALIDATION)}
    return {
        "/contacts": {
            "post": {
                "summary": "Create a contact, or write to the one that is there",
                "operationId": "createContact",
                "parameters": [
                    parameter("upsert", _FLAG),
                ],
                "requestBody": json_body("ContactInput"),
                "responses": {
                    "201": answer("Created.", contact),
                    "200": answer("With upsert: it was there, and is as sent now.", contact),
                    **failures(*_WRITE),
                },
            },
            "get": listing("List contacts", "listContacts", "ContactShown", _filters()),
        },
        "/contacts/{id}": {
            "get": {
                "summary": "Get a contact",
                "operationId": "getContact",
                "parameters": [path_id()],
                "responses": {"200": answer("The contact.", contact), **one},
            },
            "patch": {
                "summary": "Change a contact; null clears an identifier or removes a property",
                "operationId": "patchContact",
                "parameters": [path_id()],
                "requestBody": json_body("ContactInput"),
                "responses": {
                    "200": answer("The contact as it is now.", contact),
                    **failures(*_WRITE, ErrorCode.NOT_FOUND),
                },
            },
            "delete": {
                "summary": "Delete a contact; its events stay, unless the person is erased",
                "operationId": "deleteContact",
                "parameters": [
                    path_id(),
                    parameter("erase", _FLAG),
                    parameter("mask_mentions", _FLAG)
                    | {"description": "With erase: mask the person's names in events of others."},
                    parameter("dry_run", _FLAG)
                    | {"description": "With erase: only tell what it would remove and find."},
                ],
                "responses": {
                    "204": {"description": "Gone."},
                    "200": answer("With erase: the person is forgotten.", erasure),
                    "202": answer("With erase: the job goes on, see /erasures/{id}.", erasure),
                    **one,
                    **failures(
                        ErrorCode.STORAGE_UNAVAILABLE,
                        *KEYED,
                        ErrorCode.NOT_FOUND,
                        ErrorCode.VALIDATION,
                    ),
                },
            },
        },
    }


def _filters() -> list[dict[str, Any]]:
    return [
        parameter("external_id", {"type": "string", **_EXTERNAL_ID}),
        parameter("email", {"type": "string", **_EMAIL}),
        parameter("audience_id", {"type": "string", "format": "uuid"}),
        parameter("topic_id", {"type": "string", "format": "uuid"})
        | {"description": "Subscribed to it, by choice or by default."},
        parameter("search", {"type": "string", "minLength": 1, "maxLength": SEARCH_CHARACTERS_MAX})
        | {"description": "external_id or email begins with it."},
        parameter("created_after", _TIME),
        parameter("created_before", _TIME),
        {
            "name": "property",
            "in": "query",
            "description": "property.<name>=<text>: a string or an item of a list equals the text; "
            "a number or a boolean is what the text reads as. At most 10.",
            "style": "form",
            "explode": True,
            "schema": {
                "type": "object",
                "patternProperties": {"^property\\..": {"type": "string"}},
                "additionalProperties": False,
            },
        },
    ]
