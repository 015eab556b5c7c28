from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store.places import PLACES, Place
from tests.store.session import StoreSession


@pytest.fixture(scope="session", params=sorted(PLACES))
def store_kind(request: pytest.FixtureRequest) -> str:
    """Name of the store that the test runs over."""
    return str(request.param)


@pytest.fixture
def place(store_kind: str, tmp_path: Path) -> Place:
    return PLACES[store_kind](tmp_path)


@pytest.fixture
def session(place: Place) -> Iterator[StoreSession]:
    opened = StoreSession(place)
    yield opened
    opened.close()
