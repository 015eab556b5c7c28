"""The writing thread when something goes wrong inside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.store.contract import StoreError, StoreFailedError
from headrace.store.sqlite import writer
from tests.store.events import new_event
from tests.store.places import SqlitePlace
from tests.store.session import StoreSession


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Arm a point inside the writer for one passing, with an error of any kind."""
    armed: list[str] = []

    def passed(name: str) -> None:
        if name in armed:
            armed.remove(name)
            message = f"fault at {name}"
            raise ArithmeticError(message)

    monkeypatch.setattr(writer, "fail_point", passed)
    return armed.append


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[StoreSession]:
    session = StoreSession(SqlitePlace(tmp_path))
    yield session
    session.close()


def test_an_unexpected_error_fails_its_batch_and_nothing_else(
    opened: StoreSession, failing: Callable[[str], None]
) -> None:
    failing("before_commit")
    outcomes = opened.accept(new_event(key="a"), new_event(key="b"))
    assert [type(outcome) for outcome in outcomes] == [StoreError, StoreError]
    assert opened.stored_ids() == []
    assert opened.accept(new_event(key="a"), new_event(key="b")) == [None, None]
    assert opened.failures == []


def test_a_fault_between_batches_ends_the_store_instead_of_hanging_it(
    opened: StoreSession, failing: Callable[[str], None]
) -> None:
    """What was committed is answered so, what comes later is answered as not stored."""
    failing("after_commit_before_answer")
    event = new_event(key="a")
    assert opened.accept(event) == [None]
    (outcome,) = opened.accept(new_event(key="b"))
    assert isinstance(outcome, StoreFailedError)
    assert opened.failures == [outcome]
    with pytest.raises(StoreFailedError):
        opened.run(opened.store.secret("any"))
    assert opened.stored_ids() == [event.id]
    assert "ArithmeticError" in opened.run(opened.store.health()).problem
