"""The example of an event name: a payload with a placeholder for every value."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.domain.catalog.paths import ANY_KEY, is_data
from headrace.domain.catalog.personal_data import look_of_key, look_of_text
from headrace.domain.catalog.shapes import read_object
from headrace.domain.catalog.value_types import text_placeholder

#: Length of an example; a larger payload is cut down to fewer members.
CHARACTERS_MAX = 8_000
_VALUES = (400, 100, 25, 5)
_ITEMS_MAX = 2
_PLACEHOLDERS: dict[type, object] = {bool: True, int: 0, float: 0.5, type(None): None}


def redacted_example(payload: str) -> str:
    """JSON text of the payload's structure, with nothing of its values.

    Strings become their format, numbers 0 or 0.5, booleans true; long arrays and objects
    are cut, and keys that are data are `*`.

    Raises:
        ValueError: it is not the JSON of an object.
    """
    value = read_object(payload)
    for values_max in _VALUES:
        text = msgspec.json.encode(_Redaction(values_max).members(value, "")).decode()
        if len(text) <= CHARACTERS_MAX:
            return text
    return "{}"


class _Redaction:
    def __init__(self, values_max: int) -> None:
        self._left = values_max

    def members(self, value: dict[str, Any], parent: str) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for key, member in value.items():
            if self._left <= 0:
                break
            name = ANY_KEY if is_data(key) else key
            if name not in shown:
                shown[name] = self._value(member, name, parent)
        return shown

    def _value(self, value: Any, key: str, parent: str) -> Any:
        self._left -= 1
        if isinstance(value, dict):
            return self.members(value, key)
        if isinstance(value, list):
            return [self._value(item, key, parent) for item in value[:_ITEMS_MAX]]
        if isinstance(value, str):
            return text_placeholder(look_of_text(value) | look_of_key(key, parent))
        return _PLACEHOLDERS[type(value)]
