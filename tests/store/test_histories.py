"""Short random histories of people: every store agrees with a naive model.

`make histories` runs many long ones.
"""

from __future__ import annotations

import pytest

from tests.histories.run import run, shortened
from tests.histories.steps import Step, printed, random_history, read
from tests.histories.world import Difference, World
from tests.support.places import Place, SqlitePlace, store_kinds

STEPS = 50
SEEDS = range(1, 5)


@pytest.mark.parametrize("seed", SEEDS)
def test_stores_agree_with_the_oracle(seed: int, request: pytest.FixtureRequest) -> None:
    history = random_history(seed, STEPS)
    try:
        run(history, store_kinds(request.config))
    except Difference as difference:
        # Printed for `python -m tests.histories --replay`, which also shortens it.
        pytest.fail(f"{difference}\n{printed(history)}")


def test_a_seed_gives_the_same_history_each_time() -> None:
    history = random_history(3, 200)
    assert history == random_history(3, 200)
    assert history != random_history(4, 200)
    assert read(printed(history)) == history


def test_difference_of_a_store_is_detected(place: Place) -> None:
    world = World(place)
    try:
        world.take(Step("create", write={"external_id": "xid-1-k", "properties": {"p": "val-1-k"}}))
        world.check()
        place.run_sql("UPDATE contacts SET properties = '{}'")
        with pytest.raises(Difference, match="contacts"):
            world.check()
    finally:
        world.close()


def test_remains_of_an_erasure_are_detected(place: Place) -> None:
    """In a table, and in a file."""
    world = World(place)
    try:
        world.take(Step("create", write={"external_id": "xid-1-k", "properties": {"p": "val-1-k"}}))
        world.check_traces()
        place.run_sql("CREATE TABLE later (word TEXT)")
        place.run_sql("INSERT INTO later VALUES ('XID-2-K')")
        with pytest.raises(Difference, match="table later still holds"):
            world.check_traces()
        place.run_sql("DROP TABLE later")
        if isinstance(place, SqlitePlace):
            (place.path.parent / "copy").write_bytes(b"..val-2-k..")
            with pytest.raises(Difference, match="file"):
                world.check_traces()
    finally:
        world.close()


def test_failing_history_is_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that the failure does not need is left out."""
    history = random_history(1, 12)
    needed = [history[2], history[9]]

    def check(steps: list[Step], kinds: list[str], look_every: int) -> None:
        del kinds, look_every
        if all(step in steps for step in needed):
            raise Difference("both are there")

    monkeypatch.setattr("tests.histories.run.run", check)
    assert shortened(history, []) == needed
