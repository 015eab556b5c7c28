"""Automations in a store, with real processing; the test moves the clock and runs every step."""

from __future__ import annotations

import json
from typing import Any

from headrace.domain.access.policies import Policies
from headrace.domain.automations.running.states import RunStatus
from headrace.domain.contacts.contact import Contact, ContactWrite
from headrace.domain.events.event import NewEvent
from headrace.domain.ids import first_sequence_at
from headrace.pipeline.processing.plan import BatchPlanner, Rules
from headrace.store.automations.automations import Automations, Changes, Checked
from headrace.store.automations.operations import RunOperations
from headrace.store.automations.work import LEADERSHIP, AutomationWork
from headrace.store.contract.automations import (
    Automation,
    RejectedStart,
    RunDetail,
    RunFilter,
    RunRow,
)
from headrace.store.postgres import PostgresStore
from headrace.store.sqlite import SqliteStore
from tests.support.events import new_event
from tests.support.queue import Clock
from tests.support.session import StoreSession

OWNER = "a"
PROJECT = 1
SECOND_US = 1_000_000
LIMIT = 1000
_LEASE_US = 10**15
_AHEAD_US = 3600 * SECOND_US


def chain(*steps: dict[str, Any], event: str = "go", **members: Any) -> dict[str, Any]:
    """A definition whose steps, s0, s1 and so on, follow each other by their first branch.

    Args:
        members: of the definition; those of `trigger` are added to it.
    """
    firsts = {"wait_for_event": "received", "condition": "true"}
    connections = [{"from": "trigger", "to": "s0", "branch": "next"}]
    for number, step in enumerate(steps[:-1]):
        branch = firsts.get(step["type"], "next")
        connections.append({"from": f"s{number}", "to": f"s{number + 1}", "branch": branch})
    return {
        "trigger": {"event_name": event, **members.pop("trigger", {})},
        "steps": [{"key": f"s{number}", **step} for number, step in enumerate(steps)],
        "connections": connections,
        **members,
    }


def delay(seconds: int = 60) -> dict[str, Any]:
    return {"type": "delay", "config": {"seconds": seconds}}


def wait(event: str = "done", seconds: int = 60, **config: Any) -> dict[str, Any]:
    config = {"event_name": event, "timeout_seconds": seconds, **config}
    return {"type": "wait_for_event", "config": config}


class StoredAutomations:
    """One project of a store, with one worker that processes events and runs automations."""

    def __init__(self, session: StoreSession) -> None:
        self.session = session
        store = session.store
        #: Of events and of the runner. Processing has that of the store, which stays behind.
        self.clock = Clock()
        self.clock.now_us = store.clock_us() // 1000 * 1000 + _AHEAD_US
        self.processing = store.processing
        session.run(store.projects.create("shop", self.clock(), actor="tester"))
        self.definitions: Automations = store.automations.definitions
        self.work = self.new_work()
        self._numbers = 0
        self._lead(LEADERSHIP)

    def _lead(self, name: str) -> None:
        taken = self.processing.acquire_leadership(name, OWNER, _LEASE_US)
        assert self.session.run(taken) is not None

    def new_work(self) -> AutomationWork:
        """A runner as in another process: it shares nothing but the store."""
        store = self.session.store
        assert isinstance(store, SqliteStore | PostgresStore)
        audiences, contacts = store.audiences, store.contacts
        return AutomationWork(
            store.database,
            audiences._system_events,
            contacts._numbers,
            self.clock,
            store.automations.work._dead_letter_ids,
        )

    def operations(self) -> RunOperations:
        """What people do to runs, with the clock of the test."""
        return RunOperations(self.work._database, self.work.advancer, self.clock)

    # Definitions.

    def create(self, definition: dict[str, Any], name: str = "auto") -> Automation:
        fields = Changes(name=name, draft=json.dumps(definition))
        return self.session.run(
            self.definitions.create(PROJECT, fields, self.clock(), actor="tester")
        )

    def publish(self, automation: Automation) -> Checked:
        checked = self.session.run(
            self.definitions.publish(PROJECT, automation.id, self.clock(), actor="tester")
        )
        assert checked is not None
        return checked

    def start_with(self, definition: dict[str, Any], name: str = "auto") -> Automation:
        """Create an automation and publish it."""
        checked = self.publish(self.create(definition, name))
        assert checked.report.problems == ()
        return checked.automation

    # Contacts and events.

    def contact(self, external_id: str = "customer-1", **fields: Any) -> Contact:
        write = ContactWrite(external_id=external_id, **fields)
        contacts = self.session.store.contacts
        return self.session.run(contacts.upsert(PROJECT, write, self.clock(), source="api"))[0]

    def new_event(self, name: str = "go", payload: Any = None, **changes: Any) -> NewEvent:
        self._numbers += 1
        return new_event(
            event=name,
            sequence=first_sequence_at(self.clock()) + self._numbers,
            payload=json.dumps(payload or {}),
            **{
                "project_id": PROJECT,
                "received_us": self.clock(),
                "occurred_us": self.clock(),
            }
            | changes,
        )

    def accept(self, name: str = "go", payload: Any = None, **changes: Any) -> NewEvent:
        event = self.new_event(name, payload, **changes)
        assert self.session.accept(event) == [None]
        return event

    def process(self) -> int:
        """Process everything that is queued, system events too; returns how many events."""
        names = self.session.run(self.definitions.event_names())
        planner = BatchPlanner(Rules({PROJECT: Policies()}, (), names))
        version, _ = self.session.run(self.processing.subscriber_rules())
        self._lead("processing")
        done = 0
        while batch := self.session.run(self.processing.claim(OWNER, LIMIT)):
            work = self.processing.process(OWNER, batch, planner, 0, subscribers_version=version)
            done += self.session.run(work)[0]
        return done

    def run(self, work: AutomationWork | None = None) -> int:
        """Work the inbox and due timers once; returns how many inputs there were."""
        runner = work or self.work
        tasks = self.session.run(runner.work_tasks(OWNER))
        events = self.session.run(runner.work_events(OWNER))
        timers = self.session.run(runner.work_timers(OWNER))
        return tasks.timers + events.events + timers.timers

    def settle(self) -> None:
        """Process and run until nothing is left to do at this time."""
        for _ in range(1000):
            if not self.process() + self.run():
                return
        raise AssertionError("it does not come to rest")

    def send(self, name: str = "go", payload: Any = None, **changes: Any) -> NewEvent:
        """Accept an event, and do everything that follows from it."""
        event = self.accept(name, payload, **changes)
        self.settle()
        return event

    def forward(self, seconds: float) -> None:
        """Move the clock, and do what is due by then."""
        self.clock.forward(seconds)
        self.settle()

    # Reads.

    def runs(self, automation: Automation, status: RunStatus | None = None) -> list[RunRow]:
        found = self.session.run(
            self.session.store.automations.runs.list(
                PROJECT, automation.id, RunFilter(status=status), limit=LIMIT
            )
        )
        assert found is not None
        return list(found)

    def detail(self, automation: Automation) -> RunDetail:
        """The only run of an automation."""
        (row,) = self.runs(automation)
        found = self.session.run(self.session.store.automations.runs.get(PROJECT, row.id))
        assert found is not None
        return found

    def path(self, automation: Automation) -> list[tuple[str, str | None]]:
        """Steps of the only run, with the branches that it has taken."""
        return [(step.key, step.branch) for step in self.detail(automation).run.steps]

    def rejected(self, automation: Automation) -> list[RejectedStart]:
        found = self.session.run(
            self.session.store.automations.runs.rejected_starts(PROJECT, automation.id, limit=LIMIT)
        )
        assert found is not None
        return list(found)

    def reasons(self, automation: Automation) -> list[str]:
        return [one.reason.value for one in self.rejected(automation)]

    def events_named(self, name: str) -> list[dict[str, Any]]:
        """Payloads of stored events of that name, in order."""
        rows = self.session.place.run_sql(
            "SELECT payload FROM events WHERE event = ? ORDER BY sequence", name
        )
        return [json.loads(row[0]) for row in rows]
