"""Of two events with one key the first is stored, whichever committers have them."""

from __future__ import annotations

from typing import Any

from headrace.domain.events.event import FirstCopy
from headrace.pipeline.intake.unsettled_keys import UnsettledKeys, Waiting
from headrace.store.contract.commits import Pending
from headrace.store.contract.errors import StoreError
from tests.support.events import new_event


def waiting(key: str | None = "k", **changes: Any) -> Waiting:
    return Pending(new_event(key=key, **changes), lambda _: None), 1, 0.0


def settle(keys: UnsettledKeys, *settled: Waiting) -> tuple[list[Waiting], list[Waiting]]:
    return keys.settled([pending for pending, _, _ in settled])


def test_a_repeat_waits_for_the_committer_that_has_the_first() -> None:
    keys = UnsettledKeys()
    first, repeat, second_repeat = waiting(), waiting(), waiting()
    assert not keys.holds(first, 0)
    assert keys.holds(repeat, 1)
    assert keys.holds(second_repeat, 1)
    assert settle(keys, waiting("other")) == ([], [])
    assert settle(keys, first) == ([repeat, second_repeat], [])
    assert settle(keys, repeat, second_repeat) == ([], [])


def test_a_repeat_for_the_same_committer_follows_by_itself() -> None:
    keys = UnsettledKeys()
    first, repeat, other = waiting(), waiting(), waiting()
    assert not keys.holds(first, 1)
    assert not keys.holds(repeat, 1)
    assert keys.holds(other, 0)
    assert settle(keys, first) == ([other], [])
    # The repeat has no outcome yet, so its committer still has the key.
    assert keys.holds(another := waiting(), 0)
    repeat[0].outcome = FirstCopy(b"", "a", 0, mismatch=False)
    assert settle(keys, repeat) == ([another], [])
    assert not keys.holds(waiting(), 0)


def test_a_repeat_fails_with_the_first() -> None:
    keys = UnsettledKeys()
    first, repeat = waiting(), waiting()
    keys.holds(first, 0)
    keys.holds(repeat, 1)
    first[0].outcome = error = StoreError("refused")
    assert settle(keys, first) == ([], [repeat])
    assert repeat[0].outcome is error
    assert not keys.holds(waiting(), 1)


def test_events_without_a_key_and_with_other_keys_do_not_wait() -> None:
    keys = UnsettledKeys()
    assert not keys.holds(waiting("k"), 0)
    for number in range(5):
        assert not keys.holds(waiting(None), number % 2)
        assert not keys.holds(waiting(f"k{number}"), number % 2)


def test_settled_keys_are_dropped() -> None:
    keys = UnsettledKeys()
    events = [waiting(f"k{number % 7}") for number in range(50)]
    held = [event for number, event in enumerate(events) if keys.holds(event, number % 2)]
    assert held
    queued = [event for event in events if event not in held]
    repeats, failed = settle(keys, *queued)
    assert (sorted(map(id, repeats)), failed) == (sorted(map(id, held)), [])
    settle(keys, *repeats)
    assert not keys._committers
    assert not keys._held


def test_repeat_held_too_long_is_returned() -> None:
    keys = UnsettledKeys()
    first = waiting()
    old, young = ((waiting()[0], 1, put) for put in (1.0, 2.0))
    assert not keys.holds(first, 0)
    assert keys.holds(old, 1)
    assert keys.holds(young, 1)
    assert keys.since() == [1.0, 2.0]
    assert keys.take_back(1.0) == [old]
    assert keys.since() == [2.0]
    assert settle(keys, first) == ([young], [])
    assert keys.take_back(3.0) == []
