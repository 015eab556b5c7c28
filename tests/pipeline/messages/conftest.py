from collections.abc import Iterator

import pytest

from tests.support.places import Place
from tests.support.session import StoreSession


@pytest.fixture
def place(any_place: Place) -> Place:
    return any_place


@pytest.fixture
def session(any_place: Place) -> Iterator[StoreSession]:
    opened = StoreSession(any_place)
    yield opened
    opened.close()
