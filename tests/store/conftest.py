from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.places import OLDEST_PLACES, PLACES, POOLED_PLACES, Place, store_kinds
from tests.support.session import StoreSession

#: Modules that run on the oldest supported PostgreSQL as well.
_ON_OLDEST = {
    "test_accept",
    "test_life",
    "test_order_of_receipt",
    "test_processing",
    "test_deliveries",
}

#: Modules that also run as behind a pooler, where events are committed differently.
_POOLED = {"test_accept", "test_order_of_receipt"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "store_kind" in metafunc.fixturenames:
        folder, _, module = metafunc.module.__name__.rpartition(".")
        pooled, oldest = module in _POOLED, module in _ON_OLDEST
        kinds = store_kinds(metafunc.config, pooled=pooled, oldest=oldest)
        if folder.endswith(".sqlite"):
            kinds = ["sqlite"]
        metafunc.parametrize("store_kind", kinds, scope="session")


@pytest.fixture
def place(store_kind: str, tmp_path: Path) -> Iterator[Place]:
    made = (PLACES | POOLED_PLACES | OLDEST_PLACES)[store_kind](tmp_path)
    yield made
    made.remove()


@pytest.fixture
def session(place: Place) -> Iterator[StoreSession]:
    opened = StoreSession(place)
    yield opened
    opened.close()
