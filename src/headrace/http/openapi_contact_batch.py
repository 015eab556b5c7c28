"""Description of `/contacts/batch`."""

from __future__ import annotations

from typing import Any

from headrace.domain.errors import ErrorCode
from headrace.http.contact_batch import CONTACTS_MAX, ContactBatchAnswer, ContactBatchInput
from headrace.http.openapi_parts import BODY, KEYED, answer, failures, parameter, ref

TYPES = (ContactBatchInput, ContactBatchAnswer)


def refine(schemas: dict[str, Any]) -> None:
    """Add what the types cannot say."""
    schemas["ContactBatchInput"] |= {"additionalProperties": False}
    schemas["ContactBatchInput"]["properties"]["contacts"] = {
        "type": "array",
        "minItems": 1,
        "maxItems": CONTACTS_MAX,
        "items": {
            "description": "A ContactInput; whatever else it is, its item says what is wrong."
        },
    }


def paths() -> dict[str, Any]:
    """Paths by template."""
    flag = {"type": "string", "enum": ["true", "false"]}
    return {
        "/contacts/batch": {
            "post": {
                "summary": f"Create or write to up to {CONTACTS_MAX} contacts",
                "description": "NDJSON has one ContactInput a line. Each is found by its "
                "external_id, else by its email, and written for itself; a bad one spoils no "
                "other.",
                "operationId": "upsertContacts",
                "parameters": [
                    parameter("dry_run", flag) | {"description": "Write nothing, only tell."}
                ],
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {"schema": ref("ContactBatchInput")},
                        "application/x-ndjson": {"schema": {"type": "string"}},
                    },
                },
                "responses": {
                    "200": answer(
                        "One answer per contact, in the order sent.", ref("ContactBatchAnswer")
                    ),
                    **failures(*KEYED, *BODY, ErrorCode.STORAGE_UNAVAILABLE),
                },
            }
        }
    }
