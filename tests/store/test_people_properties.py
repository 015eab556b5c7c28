"""Writes about the same people give the same contacts in any order of arrival."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.domain.access.policies import Policies
from headrace.domain.contacts.contact import Contact, ContactWrite
from headrace.domain.contacts.properties import PropertyValue
from headrace.domain.contacts.property_times import Stamp, Values, join, write
from headrace.pipeline.processing.plan import BatchPlanner, Rules
from headrace.store.contract.contacts import ContactFilter
from tests.support.events import START_US, new_event
from tests.support.queue import Queue
from tests.support.session import StoreSession

NOW_US = START_US + 1_000_000
NAMES = st.sampled_from(["p", "q", "r"])
VALUES = st.sampled_from(["a", "b", 1, 2.5, True, ["x"], ["x", "y"]])
SETS = st.dictionaries(NAMES, st.none() | VALUES, max_size=3)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One write about one person, by an event or through the API."""

    person: int
    by_event: bool
    with_email: bool
    sets: dict[str, PropertyValue | None]
    #: Only sent in events.
    once: dict[str, PropertyValue]


STEPS = st.lists(
    st.builds(
        Step,
        person=st.integers(0, 1),
        by_event=st.booleans(),
        with_email=st.booleans(),
        sets=SETS,
        once=st.dictionaries(NAMES, VALUES, max_size=2),
    ),
    min_size=1,
    max_size=8,
)
_projects = itertools.count(1)


class World:
    """One store; every example is a project of its own."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue

    def live(self, steps: Sequence[tuple[int, Step]], batch: int) -> list[dict[str, Any]]:
        """Apply writes, each with its time, in this order; returns the final contacts."""
        project_id = next(_projects)
        planner = BatchPlanner(Rules({project_id: Policies()}, ()))
        waiting = 0
        for at, step in steps:
            if step.by_event:
                self._send(project_id, at, step)
                waiting += 1
            if waiting == batch or not step.by_event:
                self._process(planner)
                waiting = 0
            if not step.by_event:
                self._call(project_id, at, step)
        self._process(planner)
        return self._contacts(project_id)

    def _send(self, project_id: int, at: int, step: Step) -> None:
        payload = {"$set": step.sets, "$set_once": step.once, "total": 1}
        self.queue.accept(
            new_event(
                project_id=project_id,
                external_id=f"x{step.person}",
                email=f"{step.person}@b.example" if step.with_email else None,
                occurred_us=START_US + at,
                received_us=NOW_US,
                payload=json.dumps(payload),
            )
        )

    def _process(self, planner: BatchPlanner) -> None:
        while batch := self.queue.claim():
            self.queue.process(batch, planner)

    def _call(self, project_id: int, at: int, step: Step) -> None:
        said: dict[str, Any] = {"external_id": f"x{step.person}", "properties": step.sets}
        if step.with_email:
            said["email"] = f"{step.person}@b.example"
        session = self.queue.session
        session.run(
            session.store.contacts.upsert(
                project_id, ContactWrite(**said, occurred_us=START_US + at), NOW_US, source="api"
            )
        )

    def _contacts(self, project_id: int) -> list[dict[str, Any]]:
        session = self.queue.session
        page = session.run(
            session.store.contacts.list(project_id, ContactFilter(), before=None, limit=10)
        )
        shown = [
            {
                "external_id": contact.external_id,
                "email": contact.email,
                "properties": contact.properties,
                "times": {name: stamp.at_us for name, stamp in contact.property_times.items()},
            }
            for contact in page.contacts
        ]
        return sorted(shown, key=lambda contact: str(contact["external_id"]))


@pytest.fixture
def world(session: StoreSession) -> World:
    return World(Queue(session))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, seed=st.integers(0, 2**32), batch=st.integers(1, 4))
def test_any_order_of_arrival_ends_in_the_same_contacts(
    world: World, steps: list[Step], seed: int, batch: int
) -> None:
    timed = list(enumerate(steps, 1))
    shuffled = random.Random(seed).sample(timed, len(timed))
    assert world.live(shuffled, batch) == world.live(timed, 1)


@given(steps=STEPS)
def test_latest_value_wins(steps: list[Step]) -> None:
    """By a model: the last of the sets, else the first of the `set once`s."""
    values = Values()
    for at, step in enumerate(steps, 1):
        values = write(values, step.sets, Stamp(at)).values
        values = write(values, step.once, Stamp(at, once=True)).values
    expected: dict[str, Any] = {}
    for name in "pqr":
        sets = [step.sets[name] for step in steps if name in step.sets]
        once = [step.once[name] for step in steps if name in step.once]
        found = sets[-1] if sets else next(iter(once), None)
        if found is not None:
            expected[name] = found
    assert values.properties == expected


@given(left=STEPS, right=STEPS)
def test_joining_equals_having_been_one_contact(left: list[Step], right: list[Step]) -> None:
    def of(timed: Sequence[tuple[int, Step]]) -> Values:
        values = Values()
        for at, step in timed:
            values = write(values, step.sets, Stamp(at)).values
            values = write(values, step.once, Stamp(at, once=True)).values
        return values

    timed = list(enumerate([*left, *right], 1))
    separate = of(timed[: len(left)]), of(timed[len(left) :])
    assert join(*separate) == join(*separate[::-1])
    joined, one = join(*separate), of(timed)
    assert (joined.properties, joined.times) == (one.properties, one.times)


PEOPLE = st.lists(
    st.tuples(
        st.sampled_from([None, "{n}"]),
        st.sampled_from([None, "{n}@b.example"]),
        st.lists(st.tuples(st.integers(1, 50), SETS), max_size=3),
    ),
    min_size=2,
    max_size=4,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(people=PEOPLE, seed=st.integers(0, 2**32))
def test_merging_and_undoing_restores_all_contacts(
    world: World, people: list[Any], seed: int
) -> None:
    """Any merges, undone in reverse, restore every contact after each step."""
    project_id, session = next(_projects), world.queue.session
    ids = [_made(session, project_id, n, *person) for n, person in enumerate(people)]
    order = random.Random(seed).sample(ids, len(ids))
    states, merges = [_state(session, project_id, ids)], []
    for at, (own, other) in enumerate(itertools.pairwise(order)):
        merges.append(
            session.run(session.store.merges.merge(project_id, other, own, NOW_US + at, actor="t"))
        )
        states.append(_state(session, project_id, ids))
    for done in reversed(merges):
        states.pop()
        session.run(session.store.merges.undo(project_id, done.id, NOW_US + 99, actor="t"))
        assert _state(session, project_id, ids) == states[-1]


def _made(
    session: StoreSession,
    project_id: int,
    number: int,
    external_id: str | None,
    email: str | None,
    writes: list[tuple[int, dict[str, PropertyValue | None]]],
) -> str:
    said: dict[str, Any] = {}
    if external_id is not None:
        said["external_id"] = external_id.format(n=number)
    if email is not None:
        said |= {"email": email.format(n=number), "email_original": f"{number}@B.example"}
    contacts = session.store.contacts
    made = session.run(contacts.create(project_id, ContactWrite(**said), START_US, source="api"))
    for at, properties in writes:
        change = ContactWrite(properties=properties, occurred_us=START_US + at)
        session.run(contacts.update(project_id, made.id, change, NOW_US, source="api"))
    return made.id


def _state(session: StoreSession, project_id: int, ids: list[str]) -> list[Contact | None]:
    return [session.run(session.store.contacts.get(project_id, each)) for each in ids]
