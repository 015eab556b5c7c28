"""With any lag, crashes, batches and workers a run in a store takes the path of the naive one."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.domain.automations.running.runs import Event, Run
from headrace.store.automations import automations
from headrace.store.automations import work as work_module
from headrace.store.automations.work import LEADERSHIP, AutomationWork
from headrace.store.contract.errors import LeadershipLostError, StoreError
from headrace.store.engine.transaction import Database, Transaction, Work
from tests.support.automation_histories import definitions, examples, histories
from tests.support.automation_runs import START_US
from tests.support.naive_automations import Naive
from tests.support.session import StoreSession
from tests.support.stored_automations import OWNER, PROJECT, StoredAutomations

MOSTLY_WAITS = (
    *("wait_for_event", "wait_for_event", "wait_for_event", "delay", "delay"),
    *("condition", "contact_update", "emit_event"),
)
#: Events, or timers, of one transaction.
BATCHES = (1, 2, 3, 64)
#: Ends everything that a generated history can leave open.
LATER_SECONDS = 400


class CrashError(StoreError):
    """The process dies before its commit."""


class CrashingDatabase:
    """Rolls some transactions back at their end, as a crash before the commit does."""

    def __init__(self, database: Database, chance: Random) -> None:
        self._database = database
        self._chance = chance

    async def read(self, work: Work[Any], *, snapshot: bool = False) -> Any:
        return await self._database.read(work, snapshot=snapshot)

    async def write(self, work: Work[Any]) -> Any:
        crashes = self._chance.random() < 0.3

        async def crashing(tx: Transaction) -> Any:
            done = await work(tx)
            if crashes:
                raise CrashError
            return done

        return await self._database.write(crashing)


@pytest.fixture
def shop(session: StoreSession) -> StoredAutomations:
    return StoredAutomations(session)


class Example:
    """One automation and one contact; names are of this example alone."""

    def __init__(
        self,
        shop: StoredAutomations,
        patch: pytest.MonkeyPatch,
        definition: dict[str, Any],
        seed: int,
    ) -> None:
        self.shop = shop
        self.patch = patch
        #: The worker that leads.
        self.owner = OWNER
        self.chance = Random(seed)
        self.name = f"x{shop.new_event().sequence}"
        renamed = json.dumps(definition)
        for name in "abd":
            renamed = renamed.replace(
                f'"event_name": "{name}"', f'"event_name": "{self.name}.{name}"'
            )
        self.definition: dict[str, Any] = json.loads(renamed)
        self.definition["trigger"]["filters"] = {"payload.is_first": True}
        self.automation = shop.create(self.definition, self.name)
        self._publish()

    def _publish(self) -> None:
        """Publish without the checks, which not all generated definitions pass."""
        held, now_us = self.automation, self.shop.clock()

        async def work(tx: Transaction) -> None:
            made = await automations._insert_version(tx, held, held.draft, now_us, "tester")
            trigger = self.definition["trigger"]["event_name"]
            await tx.run(automations._PUBLISH, PROJECT, held.id, made.number, trigger, now_us)
            await automations.bump_names(tx)

        self.shop.session.run(self.shop.definitions._database.write(work))

    def crashing_work(self) -> AutomationWork:
        """A runner of a process that was just started, and dies now and then."""
        work = self.shop.new_work()
        work._database = CrashingDatabase(work._database, self.chance)
        return work

    def run_now(self) -> None:
        """Events and timers in any order, in batches of any size, by any worker, with crashes."""
        if self.chance.random() < 0.2:
            self._change_worker()
        for name in ("EVENTS_MAX", "TIMERS_MAX"):
            self.patch.setattr(work_module, name, self.chance.choice(BATCHES))
        work = self.crashing_work()
        for step in self.chance.sample([work.work_events, work.work_timers], 2):
            try:
                self.shop.session.run(step(self.owner))
            except CrashError:
                work = self.crashing_work()

    def _change_worker(self) -> None:
        """Another worker leads; the former one was only paused, and can do nothing."""
        former, self.owner = self.owner, "b" if self.owner == OWNER else OWNER
        self.shop.session.place.run_sql(
            f"UPDATE leader_leases SET owner = ? WHERE name = '{LEADERSHIP}'", self.owner
        )
        work = self.shop.new_work()
        for step in (work.work_events, work.work_timers):
            with pytest.raises(LeadershipLostError):
                self.shop.session.run(step(former))

    def live(self, people: list[Person]) -> None:
        """Let the events of all people arrive in the order of their times."""
        shop, chance = self.shop, self.chance
        begun_us = shop.clock()
        arriving = [
            (each.received_us, index, number, person)
            for number, person in enumerate(people)
            for index, each in enumerate(person.history)
        ]
        for received_us, index, _, person in sorted(arriving, key=lambda each: each[:3]):
            each = person.history[index]
            shop.clock.now_us = begun_us + received_us - START_US
            payload = {name: int(value) for name, value in each.payload.items()}
            if index == person.first:
                payload["is_first"] = True
            name = f"{self.name}.{each.name}"
            sent = shop.accept(name, payload, external_id=person.name)
            received = {"payload": payload, "received": sent.received_us}
            person.plain.append({"sequence": sent.sequence, "name": name, **received})
            if chance.random() < 0.4:
                shop.process()
            if chance.random() < 0.4:
                self.run_now()

    def finish(self) -> dict[str, Run]:
        """Process and run everything; returns the runs at their end, by contact."""
        shop = self.shop
        for _ in range(20):
            shop.process()
            self.run_now()
            shop.clock.forward(LATER_SECONDS / 20)
        if self.owner != OWNER:
            self._change_worker()
        shop.settle()
        shop.forward(LATER_SECONDS)
        runs = shop.session.store.automations.runs
        found = [shop.session.run(runs.get(PROJECT, row.id)) for row in shop.runs(self.automation)]
        return {each.row.contact_id: each.run for each in found if each is not None}


class Person:
    """A contact with its own history, and the same for the naive interpreter."""

    def __init__(self, name: str, history: list[Event], first: int) -> None:
        self.name = name
        self.history = history
        self.first = first
        self.plain: list[dict[str, Any]] = []


@pytest.mark.slow
@settings(
    max_examples=examples(8),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    definitions(MOSTLY_WAITS),
    st.lists(histories(), min_size=5, max_size=5),
    st.sampled_from([{}, {"p": 1}]),
    st.integers(0, 9999),
)
def test_stored_runs_match_naive_interpreter(
    shop: StoredAutomations,
    monkeypatch: pytest.MonkeyPatch,
    definition: dict[str, Any],
    lives: list[tuple[list[Event], list[dict[str, Any]], int]],
    properties: dict[str, Any],
    seed: int,
) -> None:
    example = Example(shop, monkeypatch, definition, seed)
    people = [
        Person(f"{example.name}-{number}", events, first)
        for number, (events, _, first) in enumerate(lives)
    ]
    contacts = [shop.contact(each.name, properties=dict(properties)) for each in people]
    example.live(people)
    runs = example.finish()

    emitted: list[Any] = []
    assert len(runs) == len(people)
    for person, contact in zip(people, contacts, strict=True):
        run = runs[contact.id]
        plain = sorted(person.plain, key=lambda each: int(each["sequence"]))
        naive = Naive(example.definition, person.plain[person.first], plain, properties, {})
        path = [(step.key, step.branch, step.finished_us) for step in run.steps]
        assert path == naive.path
        assert run.status == naive.status
        assert {step.key: step.status.value for step in run.steps} == naive.statuses
        emitted += [what["x"] for _, what in naive.effects if "x" in what]
    stored = [each["x"] for each in shop.events_named(f"{example.name}.d") if "x" in each]
    assert sorted(stored) == sorted(emitted)
