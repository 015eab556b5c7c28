"""What holds after every step of a random history with people who operate automations."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.domain.automations.definition.parsing import parse_document
from headrace.domain.automations.running.runs import Run
from headrace.domain.automations.running.states import WaitKind, WaitStatus
from headrace.domain.automations.running.version import Version
from headrace.domain.messages.kinds import MessageStatus
from headrace.store.automations.automations import Changes
from headrace.store.automations.operations import NotEligibleError
from headrace.store.automations.version_changes import RunMigrations
from headrace.store.contract.automations import (
    Migration,
    Overdue,
    PauseMode,
    RunAction,
    RunFilter,
)
from tests.support.automation_histories import examples
from tests.support.automation_mail import send_mail, set_up_mail
from tests.support.session import StoreSession
from tests.support.stored_automations import PROJECT, StoredAutomations, chain, delay, wait

PEOPLE = ("a", "b", "c")
FULL = {
    "type": "contact_update",
    "config": {"set": {"properties.b": {"from": "trigger.payload.b"}}},
}
#: Does not fit beside another one.
LARGE = "x" * 9_000
STEPS = 20


class History:
    """One automation under random events, clocks, crashes of mail, and operations."""

    def __init__(self, shop: StoredAutomations, seed: int) -> None:
        self.shop = shop
        self.chance = Random(seed)
        self.go = f"go{seed}.{shop.new_event().sequence}"
        self.of = shop.start_with(self._definition(), self.go)
        self.actions: list[Callable[[], Any]] = [
            *(self.begin, self.begin, self.event, self.event, self.later, self.later),
            *(self.mail, self.retry, self.cancel, self.pause, self.resume),
            *(self.publish, self.migrate, self.room, self.replay),
        ]

    def _definition(self) -> dict[str, Any]:
        steps = [delay(60), send_mail(), wait(f"{self.go}.done", 120), FULL, send_mail(), delay(30)]
        self.chance.shuffle(steps)
        exits = [{"event_name": f"{self.go}.stop"}]
        trigger = {"reentry": {"mode": "one_active"}}
        return chain(*steps, event=self.go, exit_on=exits, trigger=trigger)

    def person(self) -> str:
        return f"{self.chance.choice(PEOPLE)}{self.go}"

    def begin(self) -> None:
        name = self.person()
        properties = {"a": LARGE, "b": None} if self.chance.random() < 0.3 else {}
        self.shop.contact(name, email=f"{name}@example.net", properties=properties)
        self.shop.send(self.go, {"b": LARGE}, external_id=name)

    def event(self) -> None:
        kind = self.chance.choice(("done", "done", "stop"))
        self.shop.send(f"{self.go}.{kind}", external_id=self.person())

    def later(self) -> None:
        self.shop.forward(self.chance.choice((10, 60, 300)))

    def mail(self) -> None:
        """The relay takes all mail that is queued, or none of it for good."""
        state = self.chance.choice((MessageStatus.SENT, MessageStatus.SENT, MessageStatus.FAILED))
        self.shop.session.place.run_sql(
            "UPDATE messages SET state = ?, due_us = NULL, finished_us = ?, sent_us = ? "
            "WHERE state = 'queued' OR state = 'deferred'",
            *(state.value, self.shop.clock(), self.shop.clock()),
        )
        self.shop.forward(60)

    def room(self) -> None:
        self.shop.contact(self.person(), properties={"a": "small"})

    def retry(self) -> None:
        if runs := self.shop.runs(self.of):
            run = self.chance.choice(runs)
            work = self.shop.operations().retry(PROJECT, run.id, "try", actor="tester")
            try:
                self.shop.session.run(work)
            except NotEligibleError:
                assert run.status != "failed"
            self.shop.settle()

    def cancel(self) -> None:
        wanted = RunFilter(at_step=f"s{self.chance.randrange(6)}")
        work = self.shop.operations().apply(
            PROJECT, self.of.id, RunAction.CANCEL, wanted, "why", limit=1, actor="tester"
        )
        self.shop.session.run(work)

    def pause(self) -> None:
        mode = self.chance.choice((PauseMode.HOLD, PauseMode.HOLD, PauseMode.DRAIN))
        pausing = self.shop.session.store.automations.pausing
        work = pausing.pause(PROJECT, self.of.id, mode, self.shop.clock(), actor="tester")
        self.shop.session.run(work)
        self.shop.settle()

    def resume(self) -> None:
        pausing, overdue = (
            self.shop.session.store.automations.pausing,
            self.chance.choice([*Overdue]),
        )
        work = pausing.resume(
            PROJECT, self.of.id, self.shop.clock(), overdue=overdue, actor="tester"
        )
        self.shop.session.run(work)
        self.shop.settle()

    def publish(self) -> None:
        fields = Changes(draft=json.dumps(self._definition()))
        definitions = self.shop.definitions
        self.shop.session.run(
            definitions.update(PROJECT, self.of.id, fields, self.shop.clock(), actor="tester")
        )
        self.of = self.shop.publish(self.of).automation
        self.shop.settle()

    def migrate(self) -> None:
        if self.of.version < 2:
            return
        first, last = self.chance.sample(range(1, self.of.version + 1), 2)
        wanted = Migration(from_version=first, to_version=last)
        migrations = RunMigrations(
            self.shop.work._database, self.shop.work.advancer, self.shop.clock
        )
        work = migrations.apply(PROJECT, self.of.id, wanted, "why", actor="tester")
        self.shop.session.run(work)
        self.shop.settle()

    def replay(self) -> None:
        store = self.shop.session.store.dead_letters
        for row in self.open_letters():
            work = store.replay(PROJECT, row, self.shop.clock(), actor="tester")
            self.shop.session.run(work)
            self.shop.settle()
            return

    def open_letters(self) -> list[str]:
        rows = self.shop.session.place.run_sql(
            "SELECT id FROM dead_letters WHERE state = 0 AND event = ?", self.go
        )
        return [row[0] for row in rows]

    # What holds.

    def check(self) -> None:
        shop = self.shop
        found = [
            shop.session.run(shop.session.store.automations.runs.get(PROJECT, row.id))
            for row in shop.runs(self.of)
        ]
        details = [each for each in found if each is not None]
        buried = Counter(
            row[0]
            for row in shop.session.place.run_sql(
                "SELECT run_id FROM dead_letters WHERE state = 0 AND event = ?", self.go
            )
        )
        open_of: Counter[str] = Counter()
        for detail in details:
            run, row = detail.run, detail.row
            waiting = [
                each
                for each in run.waits
                if each.status is WaitStatus.WAITING and each.kind is not WaitKind.EXIT
            ]
            # Never stuck: exactly one open wait, and a time at which it is looked at.
            assert len(waiting) == (row.status == "waiting")
            assert (row.due_us is not None) == run.is_open
            taken = [step.key for step in run.steps]
            assert len(set(taken)) == len(taken)
            # Failed exactly with an open dead letter: none is discarded here.
            assert buried[row.id] == (row.status == "failed")
            open_of[row.contact_id] += run.is_open
            if "migrated" not in {note.reason for note in detail.notes}:
                assert self._is_path(run)
        assert max(open_of.values(), default=0) <= 1
        sends = shop.session.place.run_sql(
            "SELECT run_id, step_key, count(*) FROM messages GROUP BY 1, 2"
        )
        assert {row[2] for row in sends} <= {1}

    def _is_path(self, run: Run) -> bool:
        """Whether the steps of a run follow each other in its version."""
        work = self.shop.definitions.version(PROJECT, self.of.id, run.version)
        version = self.shop.session.run(work)
        assert version is not None
        definition = parse_document(version.definition.encode()).definition
        assert definition is not None
        graph = Version(self.of.id, run.version, definition).graph
        expected: Any = graph.first
        for step in run.steps:
            if step.key != expected:
                return False
            expected = None if step.branch is None else graph.target(step.key, step.branch)
        return True


@pytest.fixture
def shop(session: StoreSession) -> StoredAutomations:
    shop = StoredAutomations(session)
    set_up_mail(shop)
    return shop


@pytest.mark.slow
@settings(
    max_examples=examples(3),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.integers(0, 99_999))
def test_operated_runs_keep_their_invariants(shop: StoredAutomations, seed: int) -> None:
    history = History(shop, seed)
    history.begin()
    for _ in range(STEPS):
        history.chance.choice(history.actions)()
        history.check()
    # Everything comes to an end.
    history.resume()
    for name in PEOPLE:
        shop.contact(f"{name}{history.go}", properties={"a": "small"})
    for _ in range(20):
        shop.session.place.run_sql(
            "UPDATE messages SET state = 'sent', due_us = NULL, sent_us = ? "
            "WHERE state = 'queued' OR state = 'deferred'",
            shop.clock(),
        )
        history.replay()
        shop.forward(300)
    history.check()
    assert {row.status for row in shop.runs(history.of)} <= {"completed", "cancelled", "exited"}
    assert history.open_letters() == []
