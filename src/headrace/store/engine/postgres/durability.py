"""Checks that a server keeps what it commits and is supported."""

from __future__ import annotations

from headrace.store.contract.errors import StoreSetupError
from headrace.store.engine.postgres.database import Connection

#: Oldest major release that is supported and tested.
OLDEST_MAJOR = 14
#: Values of `synchronous_commit` with which COMMIT waits for stable storage, including that of a
#: synchronous standby.
_SYNCHRONOUS = frozenset({"on", "remote_apply"})

_SETTINGS = (
    "SELECT name, setting FROM pg_settings WHERE name IN "
    "('fsync', 'full_page_writes', 'synchronous_commit', 'synchronous_standby_names', "
    "'server_version', 'server_version_num', 'server_encoding', 'data_checksums')"
)


async def read_settings(connection: Connection) -> dict[str, str]:
    """Settings that decide about durability, and the version, as the server reports them."""
    return dict(await connection.fetch(_SETTINGS))


async def check_server(connection: Connection, settings: dict[str, str]) -> None:
    """Reject a server on which a 202 response could be false.

    Raises:
        StoreSetupError: with what to change.
    """
    major = int(settings["server_version_num"]) // 10_000
    if major < OLDEST_MAJOR:
        raise StoreSetupError(
            f"The server is PostgreSQL {settings['server_version']}; Headrace needs "
            f"{OLDEST_MAJOR} or newer. Upgrade the server."
        )
    if settings["server_encoding"] != "UTF8":
        raise StoreSetupError(
            f"The database has the encoding {settings['server_encoding']}; Headrace needs UTF8. "
            "Make one with: CREATE DATABASE headrace ENCODING 'UTF8' TEMPLATE template0"
        )
    for name in ("fsync", "full_page_writes"):
        if settings[name] != "on":
            raise StoreSetupError(
                f"The server runs with {name}={settings[name]}: it can lose what it has "
                f"committed. Set {name}=on in postgresql.conf and reload the server."
            )
    found = settings["synchronous_commit"]
    if found not in _SYNCHRONOUS:
        raise StoreSetupError(
            f"synchronous_commit is {found}: events that were answered with 202 could be lost. "
            "Set it to on (or remote_apply) for this server, database and user."
        )
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        raise StoreSetupError(
            "The server is a standby, which takes no writes. Use the address of the primary, or "
            "name all servers and add ?target_session_attrs=read-write."
        )
