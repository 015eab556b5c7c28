"""Errors inside the writing thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.domain.events.event import FirstCopy
from headrace.store.contract.commits import Pending
from headrace.store.contract.errors import StoreError, StoreFailedError
from headrace.store.engine.sqlite import writer
from headrace.store.sqlite import open_store
from tests.support.deep_stack import check_commits_survive_broken_puts
from tests.support.events import new_event
from tests.support.places import SqlitePlace
from tests.support.session import StoreSession


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Arm a fail point inside the writer once, with any error."""
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


def test_an_error_after_the_commit_fails_events_with_a_key_only(
    opened: StoreSession, failing: Callable[[str], None]
) -> None:
    """A retry of an event without a key would store it twice."""
    opened.accept(new_event(key="a"))
    failing("before_settling_repeats")
    batch = [new_event(), new_event(key="a"), new_event(key="b"), new_event()]

    outcomes = opened.accept(*batch)

    assert [type(outcome) for outcome in outcomes] == [
        type(None),
        StoreError,
        StoreError,
        type(None),
    ]
    assert {batch[0].id, batch[2].id, batch[3].id} <= set(opened.stored_ids())
    # The keys tell on a retry which of them are stored.
    retried = opened.accept(new_event(key="a"), new_event(key="b"))
    assert [type(outcome) for outcome in retried] == [FirstCopy, FirstCopy]


def test_error_between_batches_closes_the_store_instead_of_hanging(
    opened: StoreSession, failing: Callable[[str], None]
) -> None:
    """Committed events are reported as stored, later ones as not stored."""
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


def test_an_error_between_queueing_and_waking_does_not_stop_the_store(tmp_path: Path) -> None:
    """Wherever it fails: the next event is stored."""

    async def run() -> None:
        store = open_store(tmp_path / "headrace.db", serve=True)
        await check_commits_survive_broken_puts(store)
        await store.close()

    asyncio.run(run())


def test_event_without_a_wake_up_is_found(opened: StoreSession) -> None:
    """The writer polls, so a lost wake-up only costs a moment."""
    event = new_event()
    assert opened.accept(new_event()) == [None]
    opened.batches.give([Pending(event, lambda _: None)])
    assert [pending.outcome for pending in opened.batches.wait_settled()] == [None]
