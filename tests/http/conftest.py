"""One server for all HTTP tests; each test has a project of its own, so they cannot meet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.http_server import HttpServer, Project
from tests.support.raw_http import Client


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    """Shared by the whole session; what it logs is looked at when the session ends."""
    server = HttpServer(tmp_path_factory.mktemp("http"))
    server.start()
    try:
        yield server
        assert server.process.poll() is None, f"the server died:\n{server.log_text()}"
    finally:
        status = server.stop()
    assert status == 0
    for failure in ("request.failed", "loop.failed", "Traceback"):
        assert failure not in server.log_text()


@pytest.fixture
def project(server: HttpServer) -> Iterator[Project]:
    """A fresh project."""
    project = server.project()
    yield project
    project.close()


@pytest.fixture(scope="module")
def shared(server: HttpServer) -> Iterator[Project]:
    """A project for all tests of a file that do not mind one another's events."""
    project = server.project()
    yield project
    project.close()


@pytest.fixture
def client(project: Project) -> Client:
    """Asks with a key of the fresh project that has every scope."""
    return project.client()
