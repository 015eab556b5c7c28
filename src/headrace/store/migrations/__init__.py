"""Numbered SQL, the same number and name for both stores, never edited after a release."""

from __future__ import annotations

import re
from importlib import resources

import msgspec

_COMMENT = re.compile(r"--[^\n]*")
#: What stands between semicolons; the body of a function may contain some.
_STATEMENT = re.compile(r"(?:\$\$.*?\$\$|[^;$]|\$(?!\$))+", re.DOTALL)
_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


#: Number of the first step. Stores of development versions end below it and cannot be migrated.
FIRST = 10


def too_old(found: int) -> str:
    """The error for a schema that no step migrates."""
    return (
        f"The store has schema {found}, which a development version made; this release starts "
        f"at {FIRST}. Export its events with the version that made it and import them into a new "
        "store."
    )


class Migration(msgspec.Struct, frozen=True):
    """One step of the schema."""

    number: int
    name: str
    sql: str

    def statements(self) -> list[str]:
        """Its statements one by one.

        No text inside them contains a semicolon or two dashes, except that a function between
        `$$` contains semicolons.
        """
        parts = _STATEMENT.findall(_COMMENT.sub("", self.sql))
        return [part.strip() for part in parts if part.strip()]


def migrations(dialect: str) -> list[Migration]:
    """All steps of `sqlite` or `postgres`, in order."""
    folder = resources.files(__name__) / dialect
    found = []
    for entry in folder.iterdir():
        match = _NAME.fullmatch(entry.name)
        if match:
            found.append(Migration(int(match[1]), match[2], entry.read_text("utf-8")))
    return sorted(found, key=lambda step: step.number)
