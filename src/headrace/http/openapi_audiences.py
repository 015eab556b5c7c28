"""Description of `/audiences`."""

from __future__ import annotations

from typing import Any

from headrace.domain.audiences import CONTACT_IDS_MAX
from headrace.domain.errors import ErrorCode
from headrace.http.audiences import AudienceInput, AudienceShown, ContactIdsInput, EnteredShown
from headrace.http.openapi_parts import (
    answer,
    data,
    failures,
    json_body,
    listing,
    path_id,
    ref,
)
from headrace.http.openapi_topics import DESCRIPTION, NAME, ONE, WRITE, named

TYPES = (AudienceInput, AudienceShown, ContactIdsInput, EnteredShown)


def refine(schemas: dict[str, Any]) -> None:
    """Add what the types cannot say."""
    schemas["AudienceInput"] |= {
        "additionalProperties": False,
        "properties": {"name": NAME, "description": DESCRIPTION},
    }
    schemas["ContactIdsInput"]["properties"]["contact_ids"] |= {
        "minItems": 1,
        "maxItems": CONTACT_IDS_MAX,
        "items": {"type": "string", "format": "uuid"},
    }


def paths() -> dict[str, Any]:
    """Paths by template."""
    audience = data(ref("AudienceShown"))
    return {
        "/audiences": {
            "post": {
                "summary": "Create an audience",
                "operationId": "createAudience",
                "requestBody": named("AudienceInput"),
                "responses": {
                    "201": answer("Created.", audience),
                    **failures(*WRITE, ErrorCode.CONFLICT),
                },
            },
            "get": listing("List audiences", "listAudiences", "AudienceShown", []),
        },
        "/audiences/{id}": {
            "get": {
                "summary": "Get an audience",
                "operationId": "getAudience",
                "parameters": [path_id()],
                "responses": {"200": answer("The audience.", audience), **failures(*ONE)},
            },
            "patch": {
                "summary": "Change an audience; members that are absent or null stay as they are",
                "operationId": "patchAudience",
                "parameters": [path_id()],
                "requestBody": json_body("AudienceInput"),
                "responses": {
                    "200": answer("The audience as it is now.", audience),
                    **failures(*WRITE, ErrorCode.NOT_FOUND, ErrorCode.CONFLICT),
                },
            },
            "delete": {
                "summary": "Delete an audience; its contacts stay, and exit by and by",
                "operationId": "deleteAudience",
                "parameters": [path_id()],
                "responses": {
                    "204": {"description": "Gone."},
                    **failures(*ONE, ErrorCode.STORAGE_UNAVAILABLE),
                },
            },
        },
        **_contact_paths(),
    }


def _contact_paths() -> dict[str, Any]:
    listed = listing(
        "List the contacts of an audience", "listContactsOfAudience", "ContactShown", []
    )
    listed["parameters"].insert(0, path_id())
    listed["responses"] |= failures(*ONE)
    return {
        "/audiences/{id}/contacts": {
            "get": listed,
            "post": {
                "summary": "Add contacts to an audience: all, or none when one is nobody",
                "operationId": "addContactsToAudience",
                "parameters": [path_id()],
                "requestBody": json_body("ContactIdsInput"),
                "responses": {
                    "200": answer("All of them are in it now.", data(ref("EnteredShown"))),
                    **failures(*WRITE, ErrorCode.NOT_FOUND),
                },
            },
        },
        "/audiences/{id}/contacts/{contact_id}": {
            "delete": {
                "summary": "Take a contact out of an audience",
                "operationId": "removeContactFromAudience",
                "parameters": [path_id(), path_id("contact_id")],
                "responses": {
                    "204": {"description": "It is not in it any more."},
                    **failures(*ONE, ErrorCode.STORAGE_UNAVAILABLE),
                },
            }
        },
    }
