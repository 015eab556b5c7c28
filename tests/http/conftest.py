"""One server for all HTTP tests; each test has its own project, so they do not interfere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.http_server import HttpServer, Project
from tests.support.postgres import NEWEST
from tests.support.postgres import server as postgres_server
from tests.support.raw_http import Client

#: Projects for the tests against a server on PostgreSQL.
_PROJECTS_ON_POSTGRES = 500


#: Modules tested against both stores; the others do not depend on the store.
_ON_BOTH_STORES = frozenset(
    {
        "test_post_events",
        "test_batch",
        "test_idempotency",
        "test_lists",
        "test_rejections",
        "test_stream",
        "test_stream_ends",
        "test_push_clients",
        "test_push_apps",
        "test_segment_contacts",
    }
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    module = metafunc.module.__name__.rpartition(".")[2]
    if module in _ON_BOTH_STORES and "store_kind" in metafunc.fixturenames:
        wanted = str(NEWEST) in metafunc.config.getoption("--postgres").split(",")
        kinds = ["sqlite", "postgresql"] if wanted else ["sqlite"]
        metafunc.parametrize("store_kind", kinds, scope="module")


@pytest.fixture(scope="module")
def store_kind() -> str:
    return "sqlite"


class Servers:
    """One server on each kind of store, started when first asked for."""

    def __init__(self, folder: Callable[[str], Path]) -> None:
        self._folder = folder
        self._running: dict[str, HttpServer] = {}

    def on(self, kind: str) -> HttpServer:
        if kind not in self._running:
            self._running[kind] = self._started(kind)
        return self._running[kind]

    def _started(self, kind: str) -> HttpServer:
        if kind == "sqlite":
            started = HttpServer(self._folder("http"))
            started.start()
        else:
            database = postgres_server()
            url = database.url(database.new_database())
            started = HttpServer(self._folder("http-postgresql"), shared_url=url)
            started.start(_PROJECTS_ON_POSTGRES)
        return started

    def stop(self) -> None:
        for server in self._running.values():
            died = server.process.poll() is not None
            status = server.stop()
            assert not died, f"the server died:\n{server.log_text()}"
            assert status == 0
            for failure in ("request.failed", "loop.failed", "Traceback"):
                assert failure not in server.log_text()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Shared by the whole session; their logs are checked when the session ends."""
    running = Servers(tmp_path_factory.mktemp)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def server(servers: Servers, store_kind: str) -> HttpServer:
    return servers.on(store_kind)


@pytest.fixture
def project(server: HttpServer) -> Iterator[Project]:
    """A new project."""
    project = server.project()
    yield project
    project.close()


@pytest.fixture(scope="module")
def shared(server: HttpServer) -> Iterator[Project]:
    """A project for all tests of a file that tolerate one another's events."""
    project = server.project()
    yield project
    project.close()


@pytest.fixture
def client(project: Project) -> Client:
    """A client with a key of the new project that has every scope."""
    return project.client()
