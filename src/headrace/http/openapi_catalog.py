"""Description of `/catalog`."""

from __future__ import annotations

from typing import Any

from headrace.domain.errors import ErrorCode
from headrace.domain.event_fields import EVENT_NAME_CHARACTERS_MAX
from headrace.domain.personal_data import KINDS
from headrace.http.catalog import ANY, CatalogEntryShown, CatalogNameShown
from headrace.http.openapi_parts import KEYED, answer, data, failures, listing, parameter, ref
from headrace.http.query import SOURCE_NAMES
from headrace.store.contract_catalog import DriftKind

TYPES = (CatalogNameShown, CatalogEntryShown)

_NAME = {
    "type": "string",
    "pattern": r"^[a-z0-9_]+(\.[a-z0-9_]+)*$",
    "maxLength": EVENT_NAME_CHARACTERS_MAX,
}


def refine(schemas: dict[str, Any]) -> None:
    """Add what the types cannot say."""
    schemas["DriftShown"]["properties"]["kind"]["enum"] = [kind.value for kind in DriftKind]
    for name in ("CatalogNameShown", "CatalogEntryShown", "SchemaPathShown"):
        kinds = schemas[name]["properties"]["personal_data"]
        kinds["items"] = {"type": "string", "enum": list(KINDS)}


def paths() -> dict[str, Any]:
    """Paths by template."""
    listed = listing(
        "List event names",
        "listCatalog",
        "CatalogNameShown",
        [
            parameter(
                "event",
                {
                    "type": "string",
                    "pattern": r"^[a-z0-9_]+(\.[a-z0-9_]+)*(\.?\*?)?$",
                    "maxLength": EVENT_NAME_CHARACTERS_MAX,
                    "description": "The beginning of the name; `order.*` is the same as `order.`.",
                },
            ),
            parameter("source", {"type": "string", "enum": list(SOURCE_NAMES)}),
            parameter(
                "personal_data",
                {
                    "type": "string",
                    "enum": [ANY, *KINDS],
                    "description": "Names with a path that is likely to hold such data.",
                },
            ),
        ],
    )
    listed["responses"]["200"]["description"] = "In the order of names."
    return {
        "/catalog": {"get": listed},
        "/catalog/{event}": {
            "get": {
                "summary": "Get what is known of an event name",
                "operationId": "getCatalogEntry",
                "parameters": [{"name": "event", "in": "path", "required": True, "schema": _NAME}],
                "responses": {
                    "200": answer("The entry.", data(ref("CatalogEntryShown"))),
                    **failures(*KEYED, ErrorCode.NOT_FOUND, ErrorCode.VALIDATION),
                },
            },
        },
    }
