"""One statement on the store of a running server, bypassing the store's contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw

from tests.support.postgres import server as postgres_server


def run_sql(store_url: str, sql: str, *values: Any) -> None:
    """Run and commit a statement.

    Args:
        values: for the question marks, whichever the store.
    """
    scheme, _, rest = store_url.partition("://")
    if scheme == "sqlite":
        connection = apsw.Connection(str(Path(rest[1:])))
        try:
            connection.set_busy_timeout(5000)
            connection.execute(sql, values)
        finally:
            connection.close()
        return
    first, *others = sql.split("?")
    numbered = first + "".join(f"${n}{part}" for n, part in enumerate(others, 1))
    postgres_server().run_sql(rest.rpartition("/")[2], numbered, *values)
