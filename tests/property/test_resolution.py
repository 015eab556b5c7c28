"""For any events about the same people, contacts stay separate, complete and explained.

Events go through the real planner and a real store, and are compared with a model that searches a
plain list of people.
"""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.domain.access.policies import LinkIdentifiers, Policies
from headrace.domain.events.event import NewEvent, Source, Status
from headrace.pipeline.processing.plan import BatchPlanner, Rules
from headrace.pipeline.processing.resolution_note import read_note
from tests.support.events import new_event
from tests.support.places import SqlitePlace
from tests.support.queue import Queue
from tests.support.session import StoreSession

UNKNOWN = "00000000-0000-4000-8000-00000000dead"


@dataclass(frozen=True, kw_only=True)
class Said:
    """The identifiers in an event."""

    #: Index of a contact among those created so far, modulo their number; -1: one that never
    #: existed.
    contact: int | None
    external_id: str | None
    email: str | None


@dataclass(eq=False)
class Person:
    """A contact in the model."""

    external_id: str | None
    email: str | None
    id: str = ""


@dataclass
class Expected:
    """The model's result for one event."""

    reason: str
    by: str
    person: Person | None = None
    filled: dict[str, str] = field(default_factory=dict)
    conflicts: list[tuple[str, Person]] = field(default_factory=list)


class Model:
    """People in order of creation."""

    def __init__(self, *, may_create: bool, links: bool) -> None:
        self.people: list[Person] = []
        self.may_create = may_create
        self.links = links

    def expect(self, event: NewEvent) -> Expected:
        by = next(n for n in ("contact_id", "external_id", "email") if getattr(event, n))
        value = getattr(event, by)
        person = self._whose("id" if by == "contact_id" else by, value)
        if person is None and by == "contact_id":
            return Expected("contact_not_found", by)
        if person is None and by == "external_id" and self.links and event.email is not None:
            person = self._whose("email", event.email)
            if person is not None and person.external_id is None:
                person.external_id = value
                return Expected("linked", "email", person, {"external_id": value})
            person = None
        if person is None and not self.may_create:
            return Expected("creation_off", by)
        expected = Expected("matched" if person else "created", by, person or Person(None, None))
        assert expected.person is not None
        for name in ("external_id", "email"):
            self._add(expected, expected.person, name, getattr(event, name))
        if person is None:
            self.people.append(expected.person)
        return expected

    def _add(self, expected: Expected, person: Person, name: str, value: str | None) -> None:
        owner = None if value is None else self._whose(name, value)
        if owner not in (None, person):
            expected.conflicts.append((name, owner))
        elif value is not None and getattr(person, name) is None:
            setattr(person, name, value)
            expected.filled[name] = value

    def _whose(self, name: str, value: str) -> Person | None:
        return next((p for p in self.people if getattr(p, name) == value), None)


STEPS = st.builds(
    Said,
    contact=st.none() | st.none() | st.integers(-1, 5),
    external_id=st.none() | st.sampled_from(["x1", "x2", "x3", "a@b.example"]),
    email=st.none() | st.sampled_from(["a@b.example", "b@b.example", "c@b.example"]),
).filter(lambda said: (said.contact, said.external_id, said.email) != (None, None, None))
BATCHES = st.lists(st.lists(STEPS, min_size=1, max_size=5), min_size=1, max_size=5)


class World:
    """One store; every example is a project of its own."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self._projects = itertools.count(1)

    def start(self, *, may_create: bool = True, links: bool = True) -> Life:
        model = Model(may_create=may_create, links=links)
        return Life(self.queue, next(self._projects), model)


class Life:
    """One project from its first event to its last."""

    def __init__(self, queue: Queue, project_id: int, model: Model) -> None:
        self._queue = queue
        self._project_id = project_id
        self.model = model
        self._emitted: list[tuple[str, dict[str, Any]]] = []

    def forbid_creating(self) -> None:
        """Switch the policy off."""
        self.model.may_create = False

    def _planner(self) -> BatchPlanner:
        links = LinkIdentifiers.FILL if self.model.links else LinkIdentifiers.CONFLICT
        policies = Policies(create_contacts=self.model.may_create, link_identifiers=links)
        return BatchPlanner(Rules({self._project_id: policies}, ()))

    def live(self, batches: list[list[Said]]) -> None:
        for batch in batches:
            self._process([self._event(said) for said in batch])
            self._compare_contacts()
            self._compare_system_events()
        self._system_events_end()

    def _event(self, said: Said) -> NewEvent:
        contact_id = None
        if said.contact is not None:
            people = self.model.people
            known = said.contact >= 0 and people
            contact_id = people[said.contact % len(people)].id if known else UNKNOWN
        return new_event(
            project_id=self._project_id,
            contact_id=contact_id,
            external_id=said.external_id,
            email=said.email,
            email_original=said.email and said.email.upper(),
        )

    def _process(self, events: list[NewEvent]) -> None:
        self._queue.accept(*events)
        claimed = self._queue.claim()
        assert self._queue.process(claimed, self._planner())[0] == len(claimed)
        for event in events:
            self._compare(event, self.model.expect(event))

    def _compare(self, event: NewEvent, expected: Expected) -> None:
        ((status, contact_id, text),) = self._queue.sql(
            "SELECT status, resolved_contact_id, resolution FROM events WHERE sequence = ?",
            event.sequence,
        )
        note = json.loads(msgspec.json.encode(read_note(text, contact_id)))
        person = expected.person
        assert status == Status.PROCESSED
        assert (note["reason"], note["by"]) == (expected.reason, expected.by)
        assert note.get("contact_id") == contact_id
        if person is None:
            assert contact_id is None
        elif expected.reason == "created":
            person.id = contact_id
            self._emitted.append(("created", {"contact_id": contact_id, "source": "event"}))
        else:
            assert contact_id == person.id
            assert note.get("filled", []) == list(expected.filled)
        if person is not None and expected.reason != "created" and expected.filled:
            given = {
                name: getattr(event, f"{name}_original", to) for name, to in expected.filled.items()
            }
            changes = {name: {"from": None, "to": to} for name, to in given.items()}
            emitted = {"contact_id": contact_id, "source": "event", "changes": changes}
            self._emitted.append(("updated", emitted))
        conflicts = [(name, other.id) for name, other in expected.conflicts]
        assert [(c["field"], c["other_contact_id"]) for c in note.get("conflicts", [])] == conflicts
        assert self._queue.sql(
            "SELECT field, other_contact_id, contact_id FROM contact_conflicts WHERE sequence = ?",
            event.sequence,
        ) == [(*conflict, contact_id) for conflict in conflicts]

    def _compare_contacts(self) -> None:
        rows = self._queue.sql(
            "SELECT id, external_id, email, email_original FROM contacts "
            "WHERE project_id = ? ORDER BY number",
            self._project_id,
        )
        assert rows == [
            (p.id, p.external_id, p.email, p.email and p.email.upper()) for p in self.model.people
        ]
        for column in (0, 1, 2):
            values = [row[column] for row in rows if row[column] is not None]
            assert len(values) == len(set(values))

    def _compare_system_events(self) -> None:
        rows = self._queue.sql(
            "SELECT event, contact_id, payload FROM events "
            "WHERE project_id = ? AND source = ? ORDER BY sequence",
            self._project_id,
            Source.SYSTEM,
        )
        emitted = [(f"sendrealm.contact.{kind}", p["contact_id"], p) for kind, p in self._emitted]
        assert [(name, about, json.loads(payload)) for name, about, payload in rows] == emitted

    def _system_events_end(self) -> None:
        """System events about contacts create no contact and no further system events."""
        assert len(self._queue.drain(plan=self._planner())) <= len(self._emitted)
        self._compare_contacts()
        self._compare_system_events()
        rows = self._queue.sql(
            "SELECT resolved_contact_id = contact_id FROM events WHERE project_id = ? "
            "AND source = ?",
            self._project_id,
            Source.SYSTEM,
        )
        assert all(row == (1,) for row in rows)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    session = StoreSession(SqlitePlace(tmp_path_factory.mktemp("resolution")))
    yield World(Queue(session))
    session.close()


@settings(max_examples=70)
@given(batches=BATCHES, links=st.booleans())
def test_contacts_match_model(world: World, batches: list[list[Said]], links: bool) -> None:
    world.start(links=links).live(batches)


@settings(max_examples=20)
@given(known=BATCHES, later=BATCHES)
def test_no_contact_is_created_while_the_policy_forbids_it(
    world: World, known: list[list[Said]], later: list[list[Said]]
) -> None:
    life = world.start()
    life.live(known)
    people = len(life.model.people)
    life.forbid_creating()
    life.live(later)
    assert len(life.model.people) == people


@settings(max_examples=25)
@given(batches=BATCHES)
def test_how_events_are_batched_makes_no_difference(
    world: World, batches: list[list[Said]]
) -> None:
    """Contact ids are left out: they are random, so no step can name one."""
    steps = [
        Said(contact=None, external_id=said.external_id or "x1", email=said.email)
        for batch in batches
        for said in batch
    ]
    outcomes = []
    for cut in ([steps], [[step] for step in steps]):
        life = world.start()
        life.live(cut)
        outcomes.append([(p.external_id, p.email) for p in life.model.people])
    assert outcomes[0] == outcomes[1]


def test_projects_have_separate_contacts(world: World) -> None:
    said = [[Said(contact=None, external_id="x1", email="a@b.example")]]
    lives = [world.start() for _ in range(3)]
    for life in lives:
        life.live(said)
    assert len({life.model.people[0].id for life in lives}) == 3
    for life in lives:
        uuid.UUID(life.model.people[0].id)
