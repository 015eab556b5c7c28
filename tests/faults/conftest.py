from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.server import Faulty


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[Faulty]:
    """An empty store, and servers started on it in sequence."""
    made = Faulty(tmp_path / "headrace.db")
    yield made
    made.close()
