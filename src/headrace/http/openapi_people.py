"""Description of conflicts, merges, erasures and the timeline of a contact."""

from __future__ import annotations

from typing import Any

from headrace.domain.dead_letters import REASON_CHARACTERS_MAX
from headrace.domain.errors import ErrorCode
from headrace.http.erasures import EarlierShown, ErasureShown, MentionShown, MentionsShown
from headrace.http.merges import (
    ConflictShown,
    DismissInput,
    MergeInput,
    MergeShown,
    PreviewShown,
)
from headrace.http.openapi_parts import (
    BODY,
    KEYED,
    LIST,
    PAGE_PARAMETERS,
    answer,
    data,
    failures,
    json_body,
    listing,
    parameter,
    path_id,
    ref,
)
from headrace.store.contract_merges import PairStatus

TYPES = (
    MergeInput,
    DismissInput,
    PreviewShown,
    MergeShown,
    ConflictShown,
    ErasureShown,
    MentionShown,
    MentionsShown,
    EarlierShown,
)
_CONFLICT_STATUS = {
    "name": "status",
    "in": "query",
    "description": "Open ones, if it is left out.",
    "schema": {"type": "string", "enum": list(PairStatus)},
}

_ONE = (*KEYED, ErrorCode.NOT_FOUND, ErrorCode.VALIDATION)
_CHANGE = (*_ONE, ErrorCode.CONFLICT, ErrorCode.STORAGE_UNAVAILABLE)


def refine(schemas: dict[str, Any]) -> None:
    """Add what the types cannot say."""
    schemas["MergeInput"] |= {"additionalProperties": False}
    schemas["MergeInput"]["properties"]["from"] = {"type": "string", "format": "uuid"}
    schemas["DismissInput"] |= {"additionalProperties": False}
    schemas["DismissInput"]["properties"]["reason"] |= {
        "minLength": 1,
        "maxLength": REASON_CHARACTERS_MAX,
    }


def paths() -> dict[str, Any]:
    """Paths by template."""
    merge, erasure = data(ref("MergeShown")), data(ref("ErasureShown"))
    timeline = listing("List the events of a contact", "listEventsOfContact", "Event", [])
    timeline["parameters"] = [path_id(), *PAGE_PARAMETERS]
    timeline["responses"] |= failures(*LIST, ErrorCode.NOT_FOUND)
    return {
        "/contacts/conflicts": {
            "get": listing(
                "List contacts that events take for one",
                "listConflicts",
                "ConflictShown",
                [_CONFLICT_STATUS],
            )
        },
        "/contacts/conflicts/{id}/dismiss": {
            "post": {
                "summary": "Say that the two contacts of a conflict are not one person",
                "operationId": "dismissConflict",
                "parameters": [path_id()],
                "requestBody": json_body("DismissInput"),
                "responses": {
                    "200": answer("It is dismissed.", data(ref("ConflictShown"))),
                    **failures(*_CHANGE, *BODY),
                },
            }
        },
        "/contacts/{id}/events": {"get": timeline},
        "/contacts/{id}/export": {
            "get": {
                "summary": "Export all that is kept about a person",
                "operationId": "exportContact",
                "parameters": [
                    path_id(),
                    parameter("mentions", {"type": "string", "enum": ["true", "false"]})
                    | {
                        "description": "Whether all events of the project are searched for the "
                        "person's names; true unless it is false."
                    },
                ],
                "responses": {
                    "200": answer(
                        "One document, sent while it is read: what an erasure would remove, and "
                        "which events of others name the person. Cut off, it is no JSON.",
                        data({"type": "object"}),
                    ),
                    **failures(*_ONE),
                },
            }
        },
        "/contacts/{id}/merge": {
            "post": {
                "summary": "Merge another contact into this one, or see what that would do",
                "operationId": "mergeContacts",
                "parameters": [path_id()],
                "requestBody": json_body("MergeInput"),
                "responses": {
                    "201": answer("Merged; the id of the other leads to this one.", merge),
                    "200": answer("With dry_run: what it would do.", data(ref("PreviewShown"))),
                    **failures(*_CHANGE, *BODY),
                },
            }
        },
        "/merges": {"get": listing("List merges", "listMerges", "MergeShown", [])},
        "/merges/{id}": {
            "get": {
                "summary": "Get a merge",
                "operationId": "getMerge",
                "parameters": [path_id()],
                "responses": {"200": answer("The merge.", merge), **failures(*_ONE)},
            }
        },
        "/merges/{id}/undo": {
            "post": {
                "summary": "Undo a merge; what was written since stays with the survivor",
                "operationId": "undoMerge",
                "parameters": [path_id()],
                "responses": {"200": answer("Undone.", merge), **failures(*_CHANGE, *BODY)},
            }
        },
        "/erasures": {"get": listing("List erasures", "listErasures", "ErasureShown", [])},
        "/erasures/{id}": {
            "get": {
                "summary": "Get an erasure: how far it is, or the receipt",
                "operationId": "getErasure",
                "parameters": [path_id()],
                "responses": {"200": answer("The erasure.", erasure), **failures(*_ONE)},
            }
        },
    }
