from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.postgres import NEWEST, PostgresServer


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """A server whose settings the tests of a module may change."""
    server = PostgresServer(NEWEST)
    server.start()
    yield server
    server.remove()
