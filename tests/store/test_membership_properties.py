"""Any requests about topics and audiences, in sequence or concurrent, emit one event per change."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Sequence
from enum import StrEnum
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.domain.contacts.audiences import AudienceFields
from headrace.domain.contacts.topics import TopicFields
from headrace.store.contract.contacts import ContactFilter
from headrace.store.store import Store
from tests.support.events import START_US
from tests.support.session import StoreSession
from tests.support.stored_contacts import create_contact, system_events

CONTACTS = 3
THINGS = 2


class Verb(StrEnum):
    SUBSCRIBE = "subscribed"
    UNSUBSCRIBE = "unsubscribed"
    ENTER = "entered"
    EXIT = "exited"
    OPT_OUT = "opted out"


class Step(msgspec.Struct, frozen=True):
    """One request: contact, and topic or audience."""

    verb: Verb
    contact: int
    thing: int


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(Verb),
        st.integers(0, CONTACTS - 1),
        st.integers(0, THINGS - 1),
    ),
    max_size=14,
)
#: Their defaults.
DEFAULTS = st.tuples(st.booleans(), st.booleans())
_names = itertools.count()


class Example:
    """New contacts, topics and audiences in a store used by earlier examples."""

    def __init__(self, session: StoreSession, defaults: Sequence[bool]) -> None:
        self.session = session
        self.store: Store = session.store
        self.contacts = [create_contact(session).id for _ in range(CONTACTS)]
        self.topics = [
            session.run(self.store.topics.create(1, self._topic(default), START_US)).id
            for default in defaults
        ]
        self.audiences = [
            session.run(
                self.store.audiences.create(1, AudienceFields(name=f"a{next(_names)}"), START_US)
            ).id
            for _ in range(THINGS)
        ]
        self.session.run(self._clear())

    def _topic(self, default: bool) -> TopicFields:
        return TopicFields(name=f"t{next(_names)}", default_subscribed=default)

    async def _clear(self) -> None:
        """Without topics of earlier examples."""
        for topic in await self.store.topics.list(1, before=None, limit=999):
            if topic.id not in self.topics:
                await self.store.topics.delete(1, topic.id, START_US)

    def do(self, step: Step) -> Awaitable[Any]:
        contact_id = self.contacts[step.contact]
        topic_id, audience_id = self.topics[step.thing], self.audiences[step.thing]
        topics, audiences = self.store.topics, self.store.audiences
        if step.verb is Verb.ENTER:
            return audiences.enter(1, audience_id, [contact_id], START_US)
        if step.verb is Verb.EXIT:
            return audiences.exit(1, audience_id, contact_id, START_US)
        if step.verb is Verb.OPT_OUT:
            return topics.opt_out(1, contact_id, START_US)
        wanted = step.verb is Verb.SUBSCRIBE
        return topics.subscribe(1, contact_id, topic_id, START_US, wanted=wanted)

    def emitted(self) -> list[tuple[str, str, str]]:
        """Event, topic or audience, contact."""
        events = system_events(self.session, "sendrealm.topic.")
        events += system_events(self.session, "sendrealm.audience.")
        return [
            (
                name.rpartition(".")[2],
                each.get("topic_id") or each["audience_id"],
                each["contact_id"],
            )
            for name, each in events
            if each["contact_id"] in self.contacts
        ]

    def states(self) -> dict[tuple[str, str], bool]:
        """The current state, by topic or audience and contact."""
        return self.session.run(self._states())

    async def _states(self) -> dict[tuple[str, str], bool]:
        found: dict[tuple[str, str], bool] = {}
        for contact_id in self.contacts:
            subscriptions = await self.store.topics.subscriptions(
                1, contact_id, before=None, limit=99
            )
            assert subscriptions is not None
            found |= {(each.topic.id, contact_id): each.is_subscribed for each in subscriptions}
        for audience_id in self.audiences:
            wanted = ContactFilter(audience_id=audience_id)
            page = await self.store.contacts.list(1, wanted, before=None, limit=99)
            inside = {contact.id for contact in page.contacts}
            found |= {(audience_id, each): each in inside for each in self.contacts}
        return found


ON = {"subscribed": True, "entered": True, "unsubscribed": False, "exited": False}


def check_told(scene: Example, before: dict[tuple[str, str], bool]) -> None:
    """Events of each pair alternate from its first state to its last."""
    state = dict(before)
    for name, thing, contact_id in scene.emitted():
        assert state[thing, contact_id] is not ON[name]
        state[thing, contact_id] = ON[name]
    assert state == scene.states()


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(defaults=DEFAULTS, steps=STEPS)
def test_sequential_changes_emit_one_event_each(
    session: StoreSession, defaults: tuple[bool, bool], steps: list[Step]
) -> None:
    scene = Example(session, defaults)
    before = model = scene.states()
    model = dict(model)
    changes = 0
    for step in steps:
        session.run(scene.do(step))  # type: ignore[arg-type]
        wanted = after(step, scene)
        changes += sum(wanted[key] is not model[key] for key in wanted)
        model |= wanted
    assert scene.states() == model
    assert len(scene.emitted()) == changes
    check_told(scene, before)


def after(step: Step, scene: Example) -> dict[tuple[str, str], bool]:
    """The result of a step for its pairs."""
    contact_id = scene.contacts[step.contact]
    if step.verb is Verb.OPT_OUT:
        return {(topic_id, contact_id): False for topic_id in scene.topics}
    things = scene.audiences if step.verb in (Verb.ENTER, Verb.EXIT) else scene.topics
    key = (things[step.thing], contact_id)
    return {key: ON[step.verb.value]}


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(defaults=DEFAULTS, steps=STEPS)
def test_concurrent_changes_emit_one_event_each(
    session: StoreSession, defaults: tuple[bool, bool], steps: list[Step]
) -> None:
    scene = Example(session, defaults)
    before = scene.states()

    async def all_at_once() -> None:
        await asyncio.gather(*(scene.do(step) for step in steps))

    session.run(all_at_once())

    check_told(scene, before)
