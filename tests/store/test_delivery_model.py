"""The queue of deliveries against a plain model, over any sequence of operations.

Workers claim, succeed, fail, crash, pause past their lease and come back; leases are rescued, dead
letters are replayed. Always: nothing disappears, nothing runs for ever, no delivery has two
holders, and a stale worker changes nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from headrace.store.contract.deliveries import LOSSES_MAX, ClaimedDelivery, DeliveryState
from headrace.store.contract.processing import CRASHES_MAX, LEASE_US
from tests.support.deliveries import ACTOR, SECOND_US, Queue, failure
from tests.support.places import PLACES, Place
from tests.support.session import StoreSession

#: Small, so that runs reach them.
ATTEMPTS_MAX = 4
OWNERS = st.sampled_from(["a", "b"])


@dataclass
class Model:
    """What one delivery should look like."""

    due_us: int
    state: DeliveryState = DeliveryState.PENDING
    attempt: int = 0
    crashes: int = 0
    losses: int = 0
    claims: int = 0
    owner: str | None = None
    lease_until_us: int = 0
    dead_letters_open: int = 0

    def claim(self, owner: str, now_us: int) -> None:
        self.state = DeliveryState.DELIVERING
        self.attempt += 1
        self.claims += 1
        self.owner = owner
        self.lease_until_us = now_us + LEASE_US

    def let_go(self, state: DeliveryState) -> None:
        self.state = state
        self.owner = None
        self.lease_until_us = 0
        if state is DeliveryState.DEAD_LETTERED:
            self.dead_letters_open += 1


@dataclass(frozen=True)
class Held:
    """A claim of a worker, which may have lost it without noticing."""

    owner: str
    claimed: ClaimedDelivery


class DeliveryQueue(RuleBasedStateMachine):
    held: Bundle[Held] = Bundle("held")

    def __init__(self, make_place: Callable[[Path], Place]) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.place = make_place(Path(self.folder.name))
        self.session = StoreSession(self.place)
        self.queue = Queue(self.session)
        self.models: dict[str, Model] = {}

    def teardown(self) -> None:
        self.session.close()
        self.place.remove()
        self.folder.cleanup()

    @initialize()
    def begin(self) -> None:
        self.webhook = self.queue.webhook(self.queue.project())

    @rule(count=st.integers(1, 3))
    def deliver(self, count: int) -> None:
        for delivery_id in self.queue.deliver(self.webhook.id, self.webhook.project_id, count):
            self.models[delivery_id] = Model(due_us=self.queue.clock())

    @rule(target=held, owner=OWNERS, limit=st.integers(1, 4))
    def claim(self, owner: str, limit: int) -> MultipleResults[Held]:
        now_us = self.queue.clock()
        waiting = (DeliveryState.PENDING, DeliveryState.RETRYING)
        due = [
            name
            for name, model in self.models.items()
            if model.state in waiting and model.due_us <= now_us
        ]
        claimed = self.queue.claim(owner, self.webhook.id, self.webhook.project_id, limit)
        assert len(claimed) == min(limit, len(due))
        longest_due = sorted(self.models[name].due_us for name in due)[: len(claimed)]
        assert sorted(self.models[one.id].due_us for one in claimed) == longest_due
        for one in claimed:
            assert one.id in due
            self.models[one.id].claim(owner, now_us)
            model = self.models[one.id]
            assert (one.attempt, one.claim, one.crashes) == (
                model.attempt,
                model.claims,
                model.crashes,
            )
        return multiple(*(Held(owner, one) for one in claimed))

    def _holds(self, held: Held) -> bool:
        model = self.models[held.claimed.id]
        return (
            model.state is DeliveryState.DELIVERING
            and model.owner == held.owner
            and model.claims == held.claimed.claim
        )

    @rule(held=consumes(held))
    def succeed(self, held: Held) -> None:
        holds = self._holds(held)
        recorded = self.queue.record(held.owner, held.claimed)
        assert (held.claimed.number in recorded.numbers) == holds
        if holds:
            model = self.models[held.claimed.id]
            model.crashes = model.losses = 0
            model.let_go(DeliveryState.DELIVERED)

    # Not consumed: the worker may record it again.
    @rule(
        held=held,
        wait_s=st.sampled_from([0, 5, 100]),
        permanent=st.booleans(),
        crashes=st.integers(0, CRASHES_MAX),
    )
    def fail(self, held: Held, wait_s: int, *, permanent: bool, crashes: int) -> None:
        holds = self._holds(held)
        ends = permanent or held.claimed.attempt >= ATTEMPTS_MAX
        failed = replace(failure(None if ends else wait_s), crashes=crashes)
        recorded = self.queue.record(held.owner, held.claimed, failed)
        assert (held.claimed.number in recorded.numbers) == holds
        if not holds:
            return
        model = self.models[held.claimed.id]
        model.crashes, model.losses = crashes, 0
        if ends:
            model.let_go(DeliveryState.DEAD_LETTERED)
        else:
            model.let_go(DeliveryState.RETRYING)
            model.due_us = self.queue.clock() + wait_s * SECOND_US

    @rule(held=consumes(held))
    def crash(self, held: Held) -> None:
        """The worker forgets its claims; the store notices only by the lease."""

    @rule(held=held)
    def renew(self, held: Held) -> None:
        holds = self._holds(held)
        renewed = self.session.run(self.queue.store.renew(held.owner, [held.claimed]))
        assert (held.claimed.number in renewed) == holds
        if holds:
            self.models[held.claimed.id].lease_until_us = self.queue.clock() + LEASE_US

    @rule(held=consumes(held))
    def release(self, held: Held) -> None:
        holds = self._holds(held)
        released = self.session.run(self.queue.store.release(held.owner, [held.claimed]))
        assert released == holds
        if holds:
            self._given_back(self.models[held.claimed.id])

    @rule(owner=OWNERS)
    def release_all(self, owner: str) -> None:
        mine = [model for model in self.models.values() if model.owner == owner]
        assert self.session.run(self.queue.store.release(owner)) == len(mine)
        for model in mine:
            self._given_back(model)

    def _given_back(self, model: Model) -> None:
        model.attempt -= 1
        model.let_go(DeliveryState.RETRYING if model.attempt else DeliveryState.PENDING)
        model.due_us = self.queue.clock()

    @rule(seconds=st.sampled_from([1, 10, 59, 61, 200]))
    def time_passes(self, seconds: int) -> None:
        self.queue.clock.pass_s(seconds)

    @rule()
    def rescue(self) -> None:
        now_us = self.queue.clock()
        lost = [
            model
            for model in self.models.values()
            if model.state is DeliveryState.DELIVERING and model.lease_until_us <= now_us
        ]
        rescued = self.session.run(self.queue.store.rescue(100))
        assert rescued == [self.webhook.id] * len(lost)
        for model in lost:
            model.crashes = max(model.crashes, 1)
            model.attempt -= 1
            model.losses += 1
            dead = model.losses == LOSSES_MAX
            model.let_go(DeliveryState.DEAD_LETTERED if dead else DeliveryState.RETRYING)
            model.due_us = now_us

    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        letters = self.session.place.run_sql(
            "SELECT l.id, d.id FROM dead_letters AS l JOIN deliveries AS d "
            "ON d.number = l.delivery_number WHERE l.state = 0 ORDER BY l.number"
        )
        if not letters:
            return
        letter, delivery_id = data.draw(st.sampled_from(letters))
        replay = self.session.store.dead_letters.replay(
            self.webhook.project_id, letter, self.queue.clock(), actor=ACTOR
        )
        self.session.run(replay)
        model = self.models[delivery_id]
        model.dead_letters_open -= 1
        model.attempt = model.crashes = model.losses = 0
        model.due_us = self.queue.clock()
        model.state = DeliveryState.PENDING

    @invariant()
    def the_store_is_as_the_model(self) -> None:
        rows = self.session.place.run_sql(
            "SELECT id, state, attempt, crashes, claims, owner, lease_until_us, "
            "CASE WHEN state IN (0, 2) THEN due_us END FROM deliveries"
        )
        waiting = (DeliveryState.PENDING, DeliveryState.RETRYING)
        assert {row[0]: row[1:] for row in rows} == {
            name: (
                *(model.state, model.attempt, model.crashes, model.claims, model.owner),
                *(model.lease_until_us, model.due_us if model.state in waiting else None),
            )
            for name, model in self.models.items()
        }

    @invariant()
    def every_dead_one_has_one_open_letter(self) -> None:
        open_letters = [delivery_id for delivery_id, _, _ in self.queue.dead_letters()]
        dead = [name for name, m in self.models.items() if m.state is DeliveryState.DEAD_LETTERED]
        assert sorted(open_letters) == sorted(dead)
        assert all(
            model.dead_letters_open == (model.state is DeliveryState.DEAD_LETTERED)
            for model in self.models.values()
        )

    @invariant()
    def nothing_runs_for_ever(self) -> None:
        for model in self.models.values():
            assert model.attempt <= ATTEMPTS_MAX
            assert model.crashes <= CRASHES_MAX
        unfinished = self.session.place.run_sql(
            "SELECT count(*) FROM deliveries WHERE (finished_us IS NULL) <> (state IN (0, 1, 2))"
        )
        assert unfinished == [(0,)]


def test_queue_matches_model(store_kind: str) -> None:
    # A database of its own costs more than a file.
    examples = 40 if store_kind == "sqlite" else 8
    run_state_machine_as_test(
        lambda: DeliveryQueue(PLACES[store_kind]),  # type: ignore[arg-type]  # any factory will do
        settings=settings(max_examples=examples, stateful_step_count=40),
    )
