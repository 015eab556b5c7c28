"""Checks that a file is a whole database."""

from __future__ import annotations

from pathlib import Path

import apsw

from headrace.store.contract.errors import StoreSetupError


def problem_of(connection: apsw.Connection) -> str:
    """Read the whole file and check its structure; what is wrong, empty when nothing is."""
    found = str(connection.pragma("quick_check", 1))
    return "" if found == "ok" else found.splitlines()[-1]


def check_file(connection: apsw.Connection, path: Path) -> None:
    """Read the whole file and check its structure.

    Raises:
        StoreSetupError: it is damaged.
    """
    if problem := problem_of(connection):
        raise damaged(path, problem)


def damaged(path: Path, found: str) -> StoreSetupError:
    """The error for a store with that damage."""
    return StoreSetupError(
        f"The store {path} is damaged ({found}). Do not use it further: copy it away and "
        "restore a backup, or recover what can be read with: sqlite3 FILE .recover"
    )
