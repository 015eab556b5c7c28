"""Field types with descriptions and rules, for the OpenAPI document.

Decoding and encoding check none of it: the domain has the rules of input, and the document only
repeats them.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from headrace.domain.events.fields import (
    EVENT_NAME_CHARACTERS_MAX,
    EXTERNAL_ID_CHARACTERS_MAX,
    IDEMPOTENCY_KEY_CHARACTERS_MAX,
)
from headrace.domain.labels import DESCRIPTION_CHARACTERS_MAX, NAME_CHARACTERS_MAX

EVENT_NAME: dict[str, Any] = {
    "pattern": r"^[a-z0-9_]+(\.[a-z0-9_]+)*$",
    "maxLength": EVENT_NAME_CHARACTERS_MAX,
    "examples": ["order.completed"],
}
#: A name, or a prefix of names: `order.*`.
EVENT_PATTERN: dict[str, Any] = {
    "maxLength": EVENT_NAME_CHARACTERS_MAX + 2,
    "pattern": r"^(\*|[a-z0-9_]+(\.[a-z0-9_]+)*(\.\*)?)$",
    "examples": ["order.*"],
}
EXTERNAL_ID: dict[str, Any] = {
    "minLength": 1,
    "maxLength": EXTERNAL_ID_CHARACTERS_MAX,
    "examples": ["user_42"],
}
EMAIL: dict[str, Any] = {"format": "email", "maxLength": 254, "examples": ["mike@example.com"]}
IDEMPOTENCY_KEY: dict[str, Any] = {
    # Not only blanks.
    "pattern": r"^[\x20-\x7e]*[\x21-\x7e][\x20-\x7e]*$",
    "minLength": 1,
    "maxLength": IDEMPOTENCY_KEY_CHARACTERS_MAX,
    "examples": ["order-A-1001"],
}


def about(description: str = "", **rules: Any) -> Meta:
    """The description of a field, and rules of JSON Schema that its type cannot express."""
    return Meta(description=description or None, extra_json_schema=rules or None)


Id = Annotated[str, about(format="uuid", examples=["0197a3f0-6b2e-7c41-9f0a-1d2c3b4a5f60"])]
Time = Annotated[str, about(format="date-time", examples=["2026-06-08T14:15:00.000Z"])]
EventName = Annotated[str, about(**EVENT_NAME)]
ExternalId = Annotated[str, about(**EXTERNAL_ID)]
Email = Annotated[str, about(**EMAIL)]

#: Names that users give; surrounding blanks are stripped.
Name = Annotated[str, about(minLength=1, maxLength=NAME_CHARACTERS_MAX, examples=["Newsletter"])]
Description = Annotated[
    str, about(maxLength=DESCRIPTION_CHARACTERS_MAX, examples=["What is new, once a month."])
]
