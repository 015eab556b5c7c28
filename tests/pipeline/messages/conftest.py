from collections.abc import Iterator

import pytest

from tests.store.places import Place
from tests.store.session import StoreSession


@pytest.fixture
def place(any_place: Place) -> Place:
    return any_place


@pytest.fixture
def session(any_place: Place) -> Iterator[StoreSession]:
    opened = StoreSession(any_place)
    yield opened
    opened.close()
