"""Migrate a PostgreSQL database to the newest schema."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from headrace.faults import fail_point
from headrace.store.contract.errors import StoreSetupError
from headrace.store.engine.postgres.database import Connection, Database
from headrace.store.migrations import FIRST, Migration, migrations, too_old

#: Any number that is not used for another advisory lock in this database.
_LOCK = 0x4865_6164_7261_6365
#: A step may build an index on a large table.
_STEP_SECONDS_MAX = 3600.0

Report = Callable[[str, int, int], None]

_MAKE_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number     integer PRIMARY KEY,
    name       text NOT NULL,
    applied_us bigint NOT NULL
)
"""
_ADD = """
INSERT INTO schema_migrations (number, name, applied_us)
VALUES ($1, $2, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
"""


async def schema_version(connection: Connection) -> int:
    """Number of the last step applied, 0 for an empty database."""
    if await connection.fetchval("SELECT to_regclass('schema_migrations')") is None:
        return 0
    return int(await connection.fetchval("SELECT coalesce(max(number), 0) FROM schema_migrations"))


def newest_version() -> int:
    """Number of the last step of this release."""
    return migrations("postgres")[-1].number


async def migrate(database: Database, report: Report | None = None) -> list[str]:
    """Apply missing steps, each in one transaction; returns their names.

    An interrupted step is rolled back and the ones before it are kept, so a migration goes on where
    it was interrupted.

    An empty database gets all steps in one transaction: other processes see no schema or the whole
    schema, never what looks like that of an older release. Several processes may migrate at once:
    each step is applied under a lock, by one of them.

    Args:
        report: called before each step with its name, how many are done, and how many there are.

    Raises:
        StoreSetupError: the database is of a newer release, or of a development version.
    """
    steps = migrations("postgres")
    if await database.read(schema_version) == 0:
        return await database.write(_Steps(steps), _STEP_SECONDS_MAX)
    applied: list[str] = []
    found = await database.read(schema_version)
    missing = [step for step in steps if step.number > found]
    for number, step in enumerate(missing):
        if report is not None:
            report(f"{step.number:04d}_{step.name}", number, len(missing))
        applied += await database.write(_Steps((step,)), _STEP_SECONDS_MAX)
    # Raises for a newer release.
    return applied or await database.write(_Steps(()))


def newer_release(found: int) -> StoreSetupError:
    """The error for a schema that only a newer release knows."""
    return StoreSetupError(
        f"The store has schema {found}, this release knows up to {newest_version()}. "
        "Run the newer release that made it."
    )


class _Steps:
    def __init__(self, steps: Sequence[Migration]) -> None:
        self._steps = steps

    async def __call__(self, connection: Connection) -> list[str]:
        # A transaction lock, not a session lock: there may be a pooler.
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await connection.execute("SET LOCAL statement_timeout = 0")
        await connection.execute(_MAKE_TABLE)
        current = await schema_version(connection)
        if current > newest_version():
            raise newer_release(current)
        if 0 < current < FIRST:
            raise StoreSetupError(too_old(current))
        missing = [step for step in self._steps if step.number > current]
        for step in missing:
            # A cluster forwards each statement to its nodes, which fails with several in one text.
            for statement in step.statements():
                await connection.execute(statement)
            await connection.execute(_ADD, step.number, step.name)
            fail_point("inside_migration")
        return [f"{step.number:04d}_{step.name}" for step in missing]
