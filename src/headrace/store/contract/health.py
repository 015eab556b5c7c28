"""Health of a store."""

from __future__ import annotations

import msgspec


class StoreHealth(msgspec.Struct, frozen=True, kw_only=True):
    """What `doctor`, `/readyz` and `/metrics` report about a store."""

    kind: str
    location: str
    #: Version of the database library or server.
    version: str
    schema_version: int
    #: Setting -> value, as the database itself reports it.
    durability: dict[str, str]
    size_bytes: int
    #: Log not yet moved into the database (write-ahead log).
    log_bytes: int
    #: None where the store is on another machine.
    free_bytes: int | None
    #: Free space inside the files of the store, which new rows fill before the files grow.
    reusable_bytes: int = 0
    #: Why nothing can be written now; empty when writes work.
    problem: str = ""
    #: What keeps tables from being vacuumed in time.
    vacuum_problems: list[str] = []
    #: Files of the store that other users of the machine may read or write, with their modes.
    exposed_files: list[str] = []
