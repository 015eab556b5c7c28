from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.places import PLACES, Place, store_kinds


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests that use `any_place` on every store."""
    if "store_kind" in metafunc.fixturenames:
        kinds = store_kinds(metafunc.config)
        metafunc.parametrize("store_kind", kinds, scope="session")


@pytest.fixture
def any_place(store_kind: str, tmp_path: Path) -> Iterator[Place]:
    made = PLACES[store_kind](tmp_path)
    yield made
    made.remove()
