"""Migrate an embedded store to the newest schema."""

from __future__ import annotations

import apsw

from headrace.store.contract.errors import StoreSetupError
from headrace.store.migrations import FIRST, migrations, too_old


def schema_version(connection: apsw.Connection) -> int:
    """Number of the last step applied, 0 for an empty file."""
    return int(connection.pragma("user_version"))


def newest_version() -> int:
    """Number of the last step of this release."""
    return migrations("sqlite")[-1].number


def migrate(connection: apsw.Connection) -> list[str]:
    """Apply missing steps, each in one transaction; returns their names.

    Raises:
        StoreSetupError: the file is of a newer release, or of a development version.
    """
    current = schema_version(connection)
    if current > newest_version():
        message = (
            f"The store has schema {current}, this release knows up to {newest_version()}. "
            "Run the newer release that made it."
        )
        raise StoreSetupError(message)
    if 0 < current < FIRST:
        raise StoreSetupError(too_old(current))
    applied = []
    for step in migrations("sqlite"):
        if step.number <= current:
            continue
        with connection:
            connection.execute(step.sql)
            connection.pragma("user_version", step.number)
        applied.append(f"{step.number:04d}_{step.name}")
    return applied
