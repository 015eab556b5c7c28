"""JSON text as foldable HTML: every number and text exactly as it was sent."""

from __future__ import annotations

import json
from typing import Any

from markupsafe import Markup

#: Above this many values the text is shown as it is: such a page would be slow.
VALUES_MAX = 3000
#: Objects and arrays at this depth start folded.
_OPEN_DEPTH = 3
_FOLDED_FROM = 60
_TEXT_CHARACTERS = 600


class _Literal(str):
    """A number with the digits of the original text."""

    __slots__ = ()


class _Pairs(list[tuple[str, Any]]):
    """Members of an object in order, repeated names included."""


class _TooManyError(Exception):
    pass


def json_view(text: str) -> Markup:
    """Render; text that is no JSON, or has too many values, is shown as it is."""
    try:
        value = json.loads(
            text,
            object_pairs_hook=_Pairs,
            parse_int=_Literal,
            parse_float=_Literal,
            parse_constant=_Literal,
        )
        return _Renderer().render(value, 0)
    except (ValueError, RecursionError, _TooManyError):
        return Markup("<pre>{}</pre>").format(text)


class _Renderer:
    def __init__(self) -> None:
        self._values = 0

    def render(self, value: Any, depth: int) -> Markup:
        self._values += 1
        if self._values > VALUES_MAX:
            raise _TooManyError
        if isinstance(value, _Pairs):
            return self._folded(value, "{", "}", "key", depth, named=True)
        if isinstance(value, list):
            pairs = list(enumerate(value))
            return self._folded(pairs, "[", "]", "item", depth, named=False)
        return _scalar(value)

    def _folded(
        self, pairs: list[Any], start: str, end: str, noun: str, depth: int, *, named: bool
    ) -> Markup:
        if not pairs:
            return Markup("{}").format(start + end)
        lines = Markup("").join(
            Markup("<div>{}{}</div>").format(
                _name(name) if named else "", self.render(item, depth + 1)
            )
            for name, item in pairs
        )
        is_open = depth < _OPEN_DEPTH and len(pairs) <= _FOLDED_FROM
        many = "" if len(pairs) == 1 else "s"
        return Markup("<details{}><summary>{} {} {}{} {}</summary><div>{}</div></details>").format(
            Markup(" open") if is_open else "", start, len(pairs), noun, many, end, lines
        )


def _name(name: str) -> Markup:
    return Markup('<span class="k">{}</span>: ').format(json.dumps(name, ensure_ascii=False))


def _scalar(value: Any) -> Markup:
    if isinstance(value, _Literal):
        return Markup('<span class="n">{}</span>').format(value)
    if isinstance(value, str):
        quoted = json.dumps(value, ensure_ascii=False)
        if len(quoted) <= _TEXT_CHARACTERS:
            return Markup('<span class="s">{}</span>').format(quoted)
        return Markup(
            '<details><summary>text of {} characters</summary><div class="s">{}</div></details>'
        ).format(len(value), quoted)
    return Markup('<span class="l">{}</span>').format(json.dumps(value))
