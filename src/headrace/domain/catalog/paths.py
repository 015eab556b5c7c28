"""Paths of a payload: `items[].sku`, with `*` for keys that are data themselves.

A key that looks like an identifier, an address or a number identifies a person, not a field: it is
not kept, and does not make a path of its own.
"""

from __future__ import annotations

import json
import re

from headrace.domain.catalog.personal_data import PERSONAL, look_of_key, look_of_text

#: Longest path that is kept.
PATH_CHARACTERS_MAX = 300
KEY_CHARACTERS_MAX = 80
#: Digits from which on a key counts as data.
KEY_DIGITS_MAX = 4
#: Paths kept over all events; past it new ones wait until the book is reset.
NODES_MAX = 50_000
#: New paths that one payload may bring.
NEW_MAX = 600

ANY_KEY = "*"

_PLAIN = re.compile(r"[^\W\d][\w$-]*|\$[\w$-]+")
_HEXADECIMAL = re.compile(r"[0-9a-fA-F-]{16,}")


class PathNode:
    """A path in payloads; made by `PathBook`."""

    __slots__ = ("children", "items", "key", "looks", "path")

    def __init__(self, path: str, key: str, looks: int) -> None:
        self.path = path
        self.key = key
        #: Kinds of personal data that the key suggests.
        self.looks = looks
        self.children: dict[str, PathNode] = {}
        self.items: PathNode | None = None


class PathBook:
    """Knows paths by their steps, so that the text of a path is made once.

    Bounded: past `NODES_MAX` it adds no new ones, until `reset_if_full`.
    """

    def __init__(self) -> None:
        self.root = PathNode("", "", 0)
        self._size = 0
        #: New paths that may still be made for the current payload.
        self._new = NEW_MAX

    def reset_if_full(self) -> None:
        """Start with an empty book when it is full; called between batches."""
        if self._size >= NODES_MAX:
            self.root = PathNode("", "", 0)
            self._size = 0

    def next_payload(self) -> None:
        """Begin another payload."""
        self._new = NEW_MAX

    def member(self, node: PathNode, key: str) -> PathNode | None:
        """The path of a member that is not among the children; None when the limit is reached."""
        name = ANY_KEY if is_data(key) else key
        known = node.children.get(name)
        if known is not None:
            return known
        segment = name
        if name != ANY_KEY and not _PLAIN.fullmatch(name):
            segment = f"[{json.dumps(name, ensure_ascii=False)}]"
        dot = "." if node.path and not segment.startswith("[") else ""
        made = self._make(f"{node.path}{dot}{segment}", name, look_of_key(name, node.key))
        if made is not None:
            node.children[name] = made
        return made

    def item(self, node: PathNode) -> PathNode | None:
        """The path of the elements of an array; None when the limit is reached."""
        if node.items is None:
            node.items = self._make(f"{node.path}[]", node.key, node.looks)
        return node.items

    def _make(self, path: str, key: str, looks: int) -> PathNode | None:
        if len(path) > PATH_CHARACTERS_MAX or self._new <= 0 or self._size >= NODES_MAX:
            return None
        self._new -= 1
        self._size += 1
        return PathNode(path, key, looks)


def is_data(key: str) -> bool:
    """Whether a key is a value used as a key: an id, a number, an address."""
    if len(key) > KEY_CHARACTERS_MAX or not key.isprintable():
        return True
    if key.isalpha():
        return False
    digits = sum(character.isdigit() for character in key)
    return (
        digits > KEY_DIGITS_MAX
        or key.isdigit()
        or key == ANY_KEY
        or bool(_HEXADECIMAL.fullmatch(key))
        or bool(look_of_text(key) & PERSONAL)
    )
