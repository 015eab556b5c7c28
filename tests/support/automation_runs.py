"""A minimal environment for automation runs: it stores decisions, and can lag behind."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from headrace.domain.automations.filters.values import json_of
from headrace.domain.automations.running.advance import advance, begin
from headrace.domain.automations.running.effects import (
    Decision,
    Effect,
    LookBackRequest,
    SendMessage,
    UpdateContact,
)
from headrace.domain.automations.running.inputs import (
    Continue,
    EventArrived,
    Input,
    LookedBack,
    MessageFinished,
    TimerDue,
)
from headrace.domain.automations.running.reasons import Note, RunReason
from headrace.domain.automations.running.runs import Event, Run, read_payload
from headrace.domain.automations.running.states import RunStatus, StepStatus, WaitKind, WaitStatus
from headrace.domain.automations.running.version import Version
from headrace.domain.automations.running.view import RunPolicies, View
from headrace.domain.contacts.contact import Contact
from headrace.domain.ids import first_sequence_at
from tests.support.definitions import definition_of, read

SECOND_US = 1_000_000
#: 2026-06-08T00:00:00Z, a Monday.
START_US = 1_780_876_800_000_000
AUTOMATION = "aaaaaaaa-0000-4000-8000-000000000001"
RUN = "bbbbbbbb-0000-4000-8000-000000000001"


def at(seconds: float) -> int:
    """A time this long after the start of the test's day."""
    return START_US + round(seconds * SECOND_US)


def event(
    name: str,
    seconds: float,
    payload: dict[str, Any] | None = None,
    *,
    number: int = 0,
    **others: Any,
) -> Event:
    """An event received at that time, the `number`th of its millisecond."""
    received_us = at(seconds)
    sequence = first_sequence_at(received_us) + number
    return Event(
        sequence=sequence,
        id=f"event-{sequence}",
        name=name,
        payload=read_payload(json_of(payload or {})),
        occurred_us=others.pop("occurred_us", received_us),
        received_us=received_us,
        **others,
    )


def contact(**properties: Any) -> Contact:
    return Contact(
        id="cccccccc-0000-4000-8000-000000000001",
        project_id=1,
        external_id="user_42",
        email="ada@example.com",
        properties=properties,
        created_us=at(-1000),
        updated_us=at(-1000),
    )


def view(policies: RunPolicies | None = None, **others: Any) -> View:
    others.setdefault("contact", contact())
    return View(policies=policies or RunPolicies(), **others)


def version(definition: dict[str, Any], *, checked: bool = True) -> Version:
    """Version 1 of a definition, which must pass the publish checks unless stated otherwise."""
    found = definition_of(definition) if checked else read(definition).definition
    assert found is not None
    return Version(AUTOMATION, 1, found)


class World:
    """One run, its contact, and the events processed so far.

    Effects are performed at once. `results` (step key -> status and reason) completes messages at
    once; None leaves them queued.
    """

    def __init__(
        self,
        of: Version,
        seen: View | None = None,
        results: Callable[[str], tuple[StepStatus, RunReason | None] | None] | None = None,
    ) -> None:
        self.version = of
        self.view = seen or view()
        self.results = results or (lambda _: (StepStatus.COMPLETED, None))
        self.processed: list[Event] = []
        self.effects: list[Effect] = []
        self.notes: list[Note] = []
        self.now_us = START_US
        self.run: Run | None = None

    @property
    def state(self) -> Run:
        """The run, which has started."""
        assert self.run is not None
        return self.run

    def begin(self, trigger: Event) -> Run:
        """Start the run; the trigger counts as processed."""
        self.processed.append(trigger)
        self.now_us = max(self.now_us, trigger.received_us)
        self._store(begin(self.version, RUN, trigger, self.view))
        return self.state

    def take(self, item: Input) -> Run:
        """Advance the run, and carry out the decision."""
        self._store(advance(self.state, self.version, item, self.view, self.now_us))
        return self.state

    def process(self, arrived: Event) -> None:
        """Process an event, which is then visible to every look-back."""
        self.now_us = max(self.now_us, arrived.received_us)
        self.processed.append(arrived)
        if self.run is not None and self.run.is_open:
            self.take(EventArrived(arrived))

    def fire(self, *, unprocessed: Iterable[Event] = ()) -> bool:
        """Fire the timer of the open wait; returns whether it was accepted."""
        wait = self.state.open_wait
        assert wait is not None
        assert wait.due_us is not None
        self.now_us = max(self.now_us, wait.due_us)
        received = [each.received_us for each in unprocessed if each.received_us <= self.now_us]
        self.take(TimerDue(wait_id=wait.id, oldest_unprocessed_us=min(received, default=None)))
        return self.state.open_wait is None or self.state.open_wait.held_until_us is None

    def reasons(self) -> list[str]:
        return [note.reason.value for note in self.notes]

    def path(self) -> list[tuple[str, str | None]]:
        return [(record.key, record.branch) for record in self.state.steps]

    def _store(self, decision: Decision) -> None:
        before, self.run = self.run, decision.run
        check_decision(before, decision, self.version)
        self.notes += decision.notes
        for effect in decision.effects:
            self._perform(effect)
        if decision.again:
            self.take(Continue())
        # Messages take no time here, so no event can arrive while one is being sent.
        self._answer()
        if decision.look_back is not None and self.state.is_open:
            self._look_back(decision.look_back)

    def _look_back(self, wanted: LookBackRequest) -> None:
        found = [
            each
            for each in sorted(self.processed, key=lambda each: each.sequence)
            if each.name in wanted.names and each.sequence > wanted.since
        ]
        self.take(LookedBack(tuple(found)))

    def _answer(self) -> None:
        wait = self.state.open_wait
        if wait is None or wait.kind is not WaitKind.MESSAGE or wait.step_key is None:
            return
        result = self.results(wait.step_key)
        if result is not None:
            status, reason = result
            at_us = self.state.at_us
            finished = MessageFinished(
                step_key=wait.step_key, status=status, reason=reason, at_us=at_us
            )
            self.take(finished)

    def _perform(self, effect: Effect) -> None:
        once = [each.id for each in self.effects if type(each) is type(effect)]
        assert effect.id not in once or isinstance(effect, SendMessage)
        self.effects.append(effect)
        if isinstance(effect, UpdateContact):
            properties = {**self.view.contact.properties, **effect.properties}
            kept = {name: value for name, value in properties.items() if value is not None}
            changed = msgspec.structs.replace(
                self.view.contact, properties=kept, **effect.identifiers
            )
            self.view = msgspec.structs.replace(self.view, contact=changed)


def check_decision(before: Run | None, decision: Decision, of: Version) -> None:
    """Assert what holds for every decision."""
    run = decision.run
    keys = [record.key for record in run.steps]
    assert len(keys) == len(set(keys)), "a step is taken once"
    waiting = [wait for wait in run.waits if wait.status is WaitStatus.WAITING]
    standing = [wait for wait in waiting if wait.kind is not WaitKind.EXIT]
    if decision.again:
        assert run.status is RunStatus.RUNNING
    elif run.is_open:
        assert run.status is RunStatus.WAITING
        assert len(standing) == 1, "an open run waits for exactly one thing"
        assert standing[0].due_us is not None or standing[0].kind is WaitKind.MESSAGE
    else:
        assert not waiting, "nothing is left to wait for"
        assert decision.look_back is None
        assert run.finished_us == run.at_us
    assert run.at_us >= (before.at_us if before else run.trigger.received_us)
    came_from = "trigger"
    for record in run.steps:
        sources = of.graph.following(came_from)
        assert record.key in sources, "the way of a run is a way of its version"
        came_from = record.key
    for old, new in zip(before.steps if before else (), run.steps, strict=False):
        if old.finished_us is not None and old.status is not StepStatus.FAILED:
            assert old == new, "what is done does not change"
    assert decision.notes or before == run, "every change has a reason"
    for note in decision.notes:
        assert note.sentence.endswith(".")
        assert "{" not in note.sentence
