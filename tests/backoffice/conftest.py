from __future__ import annotations

from collections.abc import Iterator

import pytest

from headrace.store.contract.access import Project
from tests.backoffice.cast import Person, in_store, make_project, person, stranger
from tests.support.server import RunningServer, running_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server for all pages; its log is checked when the session ends."""
    with running_server(tmp_path_factory.mktemp("backoffice")) as running:
        yield running
    log = running.log_path.read_text("utf-8")
    for failure in ("request.failed", "loop.failed", "Traceback"):
        assert failure not in log, log[-4000:]


@pytest.fixture(scope="session")
def owner(server: RunningServer) -> Iterator[Person]:
    """An owner of the whole instance."""
    with person(server) as somebody:
        yield somebody


@pytest.fixture
def nobody(server: RunningServer) -> Iterator[Person]:
    """A client that is not signed in."""
    with stranger(server) as somebody:
        yield somebody


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    """A part that makes names unique."""
    return iter(range(10_000))


@pytest.fixture
def project(server: RunningServer, numbers: Iterator[int]) -> Project:
    """A new project."""
    return make_project(server, f"project {next(numbers)}")


@pytest.fixture(scope="session")
def default_project(server: RunningServer) -> Project:
    """The project created by the first start."""
    projects = in_store(server, lambda store: store.projects.list())
    return next(each for each in projects if each.name == "default")
