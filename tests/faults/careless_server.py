"""The server without the sync of each commit: the control that shows that a test detects it."""

from __future__ import annotations

import apsw

from headrace.cli import main
from headrace.store import sqlite as store
from headrace.store.engine.sqlite.connection import open_writer


def open_careless(path: str) -> apsw.Connection:
    connection = open_writer(path)
    connection.pragma("synchronous", "normal")
    return connection


if __name__ == "__main__":
    vars(store)["open_writer"] = open_careless
    main()
