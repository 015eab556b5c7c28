from collections.abc import Iterator

import pytest

from tests.support.server import RunningServer, running_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server for the tests of a file; each test uses its own people and keys."""
    with running_server(tmp_path_factory.mktemp("server")) as running:
        yield running
