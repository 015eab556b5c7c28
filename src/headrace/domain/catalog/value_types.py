"""Types of JSON values as bits, and how types and formats are shown."""

from __future__ import annotations

from headrace.domain.catalog.personal_data import (
    CARD_NUMBER,
    DATE,
    DECIMAL,
    EMAIL,
    IP_ADDRESS,
    NAME,
    PHONE,
    URL,
    UUID,
)

#: Bits; they are stored: append only.
OBJECT, ARRAY, STRING, NUMBER, BOOLEAN, NULL = (1 << bit for bit in range(6))

#: Type as it is shown -> its bit.
TYPES = {
    "object": OBJECT,
    "array": ARRAY,
    "string": STRING,
    "number": NUMBER,
    "boolean": BOOLEAN,
    "null": NULL,
}

_TEXTS = (
    (EMAIL, "<email>"),
    (CARD_NUMBER, "<card number>"),
    (PHONE, "<phone>"),
    (IP_ADDRESS, "<ip address>"),
    (NAME, "<name>"),
    (DATE, "<date>"),
    (UUID, "<uuid>"),
    (URL, "<url>"),
)


def type_names(types: int) -> list[str]:
    """Names of the types among bits."""
    return [name for name, bit in TYPES.items() if types & bit]


def text_placeholder(looks: int) -> str:
    """The placeholder for a string of a format."""
    return next((shown for bit, shown in _TEXTS if looks & bit), "<text>")


def example_of(types: int, looks: int) -> object:
    """A placeholder value of the most specific type among bits."""
    if types & STRING:
        return text_placeholder(looks)
    if types & NUMBER:
        return 0.5 if looks & DECIMAL else 0
    if types & BOOLEAN:
        return True
    if types & ARRAY:
        return []
    return {} if types & OBJECT else None
