"""The shape of a payload: its paths, and for each the types and formats of its values."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from headrace.domain.catalog.paths import ANY_KEY, PathBook, PathNode
from headrace.domain.catalog.personal_data import DECIMAL, PERSONAL, look_of_integer, look_of_text
from headrace.domain.catalog.value_types import ARRAY, BOOLEAN, NULL, NUMBER, OBJECT, STRING

#: Values of one payload that are inspected, and elements of one array.
VALUES_MAX = 5_000
ITEMS_MAX = 50
#: In the bits of a path, types are below formats.
LOOKS_SHIFT = 6
TYPES_MASK = (1 << LOOKS_SHIFT) - 1
_DIGITS_MAX = 20

_decode = msgspec.json.Decoder().decode


class Shape(msgspec.Struct, gc=False):
    """The findings in a payload."""

    #: Path -> bits of types and, shifted, of formats.
    places: dict[PathNode, int]
    #: Values left out: over a limit of values or of paths.
    over: int


def shape_of(payload: str, book: PathBook) -> Shape:
    """Inspect a payload.

    Raises:
        ValueError: it is not the JSON of an object.
    """
    return _Walk(book).through(read_object(payload))


def read_object(payload: str) -> dict[str, Any]:
    """Decode a payload, numbers that fit no machine number as 0.

    Raises:
        ValueError: it is not the JSON of an object.
    """
    try:
        value = _decode(payload)
    except (msgspec.MsgspecError, UnicodeError):
        value = json.loads(payload, parse_int=_number, parse_float=_number)
    if not isinstance(value, dict):
        message = "not an object"
        raise ValueError(message)  # noqa: TRY004 - it is about the text, not about an argument
    return value


def _number(text: str) -> int | float:
    # Long ones are costly, and none of interest is longer than a card number.
    if "." in text or "e" in text or "E" in text:
        return 0.5
    return int(text) if len(text) < _DIGITS_MAX else 0


class _Walk:
    def __init__(self, book: PathBook) -> None:
        self._book = book
        self._left = VALUES_MAX
        self._places: dict[PathNode, int] = {}
        self._over = 0

    def through(self, payload: dict[str, Any]) -> Shape:
        self._book.next_payload()
        self._members(payload, self._book.root)
        return Shape(self._places, self._over)

    def _members(self, value: dict[str, Any], node: PathNode) -> None:
        children, places = node.children, self._places
        for key, member in value.items():
            self._left -= 1
            place = children.get(key) or self._book.member(node, key)
            if place is None or self._left < 0:
                self._over += 1
                continue
            bits = self._bits(member, place)
            if place.key == ANY_KEY:
                bits |= (look_of_text(key) & PERSONAL) << LOOKS_SHIFT
            places[place] = places.get(place, 0) | bits

    def _items(self, value: list[Any], node: PathNode) -> None:
        place = self._book.item(node)
        if place is None:
            self._over += 1
            return
        bits = self._places.get(place, 0)
        for item in value[:ITEMS_MAX]:
            self._left -= 1
            if self._left < 0:
                self._over += 1
                break
            bits |= self._bits(item, place)
        self._places[place] = bits

    def _bits(self, value: Any, place: PathNode) -> int:
        kind = type(value)
        if kind is str:
            return STRING | (look_of_text(value) | place.looks) << LOOKS_SHIFT
        if kind is dict:
            self._members(value, place)
            return OBJECT
        if kind is list:
            if value:
                self._items(value, place)
            return ARRAY
        if value is None:
            return NULL
        if kind is bool:
            return BOOLEAN
        looks = DECIMAL if kind is float else look_of_integer(value)
        return NUMBER | (looks | place.looks) << LOOKS_SHIFT


def personal_bits(bits: int) -> int:
    """Kinds of personal data in the bits of a path."""
    return bits >> LOOKS_SHIFT & PERSONAL
