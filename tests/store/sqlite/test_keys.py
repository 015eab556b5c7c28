"""Idempotency keys in two levels against a model of which keys are taken."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from headrace.domain.events.event import FirstCopy
from headrace.domain.events.identity import idempotency_hash
from headrace.store.contract.commits import Pending
from headrace.store.engine.sqlite.connection import open_writer
from headrace.store.engine.sqlite.migrate import migrate
from headrace.store.events.events import FIND_KEY
from headrace.store.queues.sqlite import keys as key_levels
from headrace.store.queues.sqlite.accept import insert_batch, settle_repeats
from headrace.store.queues.sqlite.keys import FIND, Keys, open_keys
from tests.support.events import new_event

NAMES = [f"order-{number}" for number in range(12)]
SOME = st.lists(st.sampled_from(NAMES), min_size=1, max_size=5)
TABLES = ("temp.recent_keys", "sorted_keys", "expired_keys")


@pytest.fixture(autouse=True)
def _small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_levels, "WAITING_MAX", 4)
    # Or a start would read all keys again.
    monkeypatch.setattr(key_levels, "_OPEN", _without_margin(key_levels._OPEN))


def _without_margin(statements: tuple[str, ...]) -> tuple[str, ...]:
    margin = f"LIMIT {key_levels.READ_BEFORE_MARK}"
    assert any(margin in each for each in statements)
    return tuple(each.replace(margin, "LIMIT 1") for each in statements)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[apsw.Connection]:
    opened = open_writer(str(tmp_path / "store.db"))
    migrate(opened)
    open_keys(opened)
    yield opened
    opened.close()


@functools.cache
def _migrated() -> apsw.Connection:
    made = apsw.Connection(":memory:")
    migrate(made)
    return made


def accept(connection: apsw.Connection, names: list[str]) -> list[int | None]:
    """Accept an event of each key; the sequence of each that is new, None for a duplicate."""
    batch = [Pending(new_event(key=name), lambda _: None) for name in names]
    with connection:
        all_new = insert_batch(connection, batch)
    if not all_new:
        with connection:
            settle_repeats(connection, batch)
    return [None if isinstance(p.outcome, FirstCopy) else p.event.sequence for p in batch]


class KeyLife(RuleBasedStateMachine):
    """Accepts, removes and moves in any order; a key is taken while its event is stored."""

    def __init__(self) -> None:
        super().__init__()
        self.connection = apsw.Connection(":memory:")
        with self.connection.backup("main", _migrated(), "main") as copy:
            copy.step()
        open_keys(self.connection)
        self.levels = Keys(slice_keys=2)
        self.taken: dict[str, int] = {}

    def teardown(self) -> None:
        self.connection.close()

    @rule(names=SOME)
    def accept(self, names: list[str]) -> None:
        for name, sequence in zip(names, accept(self.connection, names), strict=True):
            assert (sequence is None) == (name in self.taken)
            if sequence is not None:
                self.taken[name] = sequence

    @rule(names=SOME)
    def remove(self, names: list[str]) -> None:
        with self.connection:
            for name in names:
                sequence = self.taken.pop(name, None)
                self.connection.execute("DELETE FROM events WHERE sequence = ?", (sequence,))

    @rule(slices=st.integers(1, 4))
    def move(self, slices: int) -> None:
        for _ in range(slices):
            if self.levels.is_due(self.connection, idle=True):
                with self.connection:
                    self.levels.move(self.connection)

    @rule()
    def start_again(self) -> None:
        """A process ends, maybe in the middle of a pass, and what was in memory is gone."""
        self.connection.execute("DROP TABLE temp.recent_keys")
        for name in ("events_unique", "events_keyed"):
            self.connection.execute(f"DROP TRIGGER IF EXISTS temp.{name}")
        open_keys(self.connection)
        self.levels = Keys(slice_keys=2)

    @invariant()
    def every_taken_key_is_found(self) -> None:
        for name in NAMES:
            found = self.connection.execute(FIND, (idempotency_hash(1, name),)).get
            assert (None if found is None else found[1]) == self.taken.get(name)
            read = self.connection.execute(FIND_KEY.sqlite, (idempotency_hash(1, name),)).get
            assert read == found


TestKeyLife = KeyLife.TestCase
TestKeyLife.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_keys_of_removed_events_leave_the_large_table(connection: apsw.Connection) -> None:
    levels = Keys(slice_keys=3)
    accept(connection, NAMES)
    assert _counts(connection) == [len(NAMES), 0, 0]
    _move_all(connection, levels)
    assert _counts(connection) == [0, len(NAMES), 0]
    connection.execute("DELETE FROM events")
    assert _counts(connection) == [0, len(NAMES), len(NAMES)]
    _move_all(connection, levels)
    assert _counts(connection) == [0, 0, 0]


def test_a_slice_has_a_limit_for_both_kinds(connection: apsw.Connection) -> None:
    """Few new keys among many expired ones do not make one large transaction."""
    levels = Keys(slice_keys=3)
    accept(connection, NAMES)
    _move_all(connection, levels)
    connection.execute("DELETE FROM events")
    while levels.is_due(connection, idle=True):
        before = _counts(connection)[2]
        levels.move(connection)
        assert before - _counts(connection)[2] <= 3


def _move_all(connection: apsw.Connection, levels: Keys) -> None:
    while levels.is_due(connection, idle=True):
        levels.move(connection)


def _counts(connection: apsw.Connection) -> list[int]:
    return [connection.execute(f"SELECT count(*) FROM {table}").get for table in TABLES]
