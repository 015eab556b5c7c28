"""The files of a store, which only their owner may use.

They hold personal data and the secrets of webhooks.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from headrace.private_files import create_private, make_private, open_to_others, shown_mode

LOG = "-wal"
SHARED_MEMORY = "-shm"
LOCK = ".lock"
RESERVE = ".reserve"
#: Written by `compact.py`, which renames it over the database.
COPY = ".compacting"
SECRET_KEYS = ".key"  # noqa: S105 - the ending of a name
#: The database comes first: SQLite creates its own files with the mode that the database has.
_ENDINGS = ("", LOG, SHARED_MEMORY, "-journal", LOCK, RESERVE, COPY, SECRET_KEYS)


def file_beside(database: Path, ending: str) -> Path:
    """The file of a store with that suffix; the database itself is no symbolic link."""
    return database.with_name(database.name + ending)


def make_store_private(database: Path) -> None:
    """Create a database unless it exists, and remove other users' access to all files of the store.

    Call it before opening a connection. Files that belong to another user keep their modes, see
    `exposed_files`.

    Raises:
        OSError: the database cannot be created.
    """
    # An empty file is an empty database. An existing one is not even opened: closing any descriptor
    # of a database would drop the locks that connections of this process hold.
    with contextlib.suppress(FileExistsError):
        os.close(create_private(database))
    for ending in _ENDINGS:
        make_private(file_beside(database, ending))


def exposed_files(database: Path) -> list[str]:
    """Files of a store that other users may read or write: `headrace.db (0644)`."""
    files = (file_beside(database, ending) for ending in _ENDINGS)
    return [f"{each.name} ({shown_mode(each)})" for each in files if open_to_others(each)]


def remove_unfinished_copy(database: Path) -> None:
    """Remove what a killed compaction has left; only under the instance lock.

    Raises:
        OSError: it cannot be removed.
    """
    for ending in (COPY, COPY + LOG, COPY + SHARED_MEMORY, COPY + "-journal"):
        file_beside(database, ending).unlink(missing_ok=True)
