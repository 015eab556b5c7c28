"""Random histories of messages, workers and consent, against an account of what may happen."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from headrace.domain.contacts.topics import TopicFields
from headrace.domain.messages.kinds import MessageStatus, SuppressionScope
from headrace.domain.messages.requests import SuppressionFields
from headrace.domain.messages.smtp_replies import ReplyClass
from headrace.store.contract.messages import Claimed, Message
from tests.support import mail
from tests.support.events import START_US
from tests.support.session import StoreSession
from tests.support.stored_contacts import create_contact, system_events

STEPS = 250
PEOPLE = ("ann", "bob", "eve")
WORKERS = ("somewhere/1:1:1", "elsewhere/2:2:2")
CAP = 2
_OUTCOMES = (
    *(ReplyClass.SENT, ReplyClass.SENT, ReplyClass.DEFERRED, ReplyClass.UNKNOWN),
    *(ReplyClass.SENDER_REFUSED, ReplyClass.PROTOCOL, ReplyClass.RELAY_UNAVAILABLE),
)


@dataclass
class Account:
    """What an onlooker knows: who wants what, and what the relay has taken."""

    unsubscribed: set[str] = field(default_factory=set)
    suppressed: dict[str, str] = field(default_factory=dict)
    paused: bool = False
    messages: dict[str, Message] = field(default_factory=dict)
    by_key: dict[str, str] = field(default_factory=dict)
    #: Mails that the relay took, by message.
    taken: Counter[str] = field(default_factory=Counter)
    #: Attempts of which nobody was told how they ended.
    unknowns: Counter[str] = field(default_factory=Counter)
    #: Marketing mails that were handed over and not refused, by person.
    handed: Counter[str] = field(default_factory=Counter)

    def person(self, message: Message) -> str:
        return (message.address or "").partition("@")[0]

    def may_leave(self, message: Message) -> bool:
        person = self.person(message)
        marketing = message.kind == "marketing"
        refused = marketing and (person in self.unsubscribed or person in self.suppressed)
        everything = self.suppressed.get(person) == "all"
        full = marketing and self.handed[person] >= CAP
        return not (self.paused or refused or everything or full)


class History:
    """Steps over a store, each checked against the account."""

    def __init__(self, session: StoreSession, seed: int) -> None:
        self.session = session
        self.rng = random.Random(seed)
        self.account = Account()
        self.project = mail.new_project(session)
        fields = TopicFields(name="News", default_subscribed=True)
        self.topic = session.run(session.store.topics.create(self.project, fields, START_US)).id
        self.contacts = {
            name: create_contact(session, self.project, email=f"{name}@example.net").id
            for name in PEOPLE
        }
        cap = {"channel": "mail", "max": CAP, "per_seconds": 86_400, "on_cap": "skip"}
        mail.set_policy(session, self.project, "frequency_caps", [cap])
        #: Claims and begun attempts, by worker.
        self.claims: dict[str, list[Claimed]] = {name: [] for name in WORKERS}
        self.begun: dict[str, list[tuple[Claimed, int]]] = {name: [] for name in WORKERS}

    def step(self) -> None:
        steps = (
            *(self.send, self.send, self.claim, self.claim, self.start, self.start, self.start),
            *(self.end, self.end, self.die, self.consent, self.suppress, self.pause, self.wait),
        )
        self.rng.choice(steps)()

    def send(self) -> None:
        key = self.rng.choice((None, None, None, "k1", "k2"))
        kind = self.rng.choice(("marketing", "transactional"))
        person = self.rng.choice(PEOPLE)
        message = mail.send_one(
            self.session,
            self.project,
            to=f"{person}@example.net",
            kind=kind,
            topic_id=self.topic,
            idempotency_key=key,
        )
        if key is not None:
            assert self.account.by_key.setdefault(key, message.id) == message.id
        self.account.messages.setdefault(message.id, message)

    def claim(self) -> None:
        worker = self.rng.choice(WORKERS)
        found = mail.claim(self.session, limit=self.rng.randint(1, 4), owner=worker)
        if self.account.paused:
            assert found == []
        held = {one.message.id for claims in self.claims.values() for one in claims}
        assert not held & {one.message.id for one in found}
        self.claims[worker] += found

    def start(self) -> None:
        worker = self.rng.choice(WORKERS)
        if not self.claims[worker]:
            return
        claimed = self.claims[worker].pop(self.rng.randrange(len(self.claims[worker])))
        message = claimed.message
        result = mail.start(self.session, claimed, owner=worker)
        assert not result.lost
        if result.attempt is None:
            assert not self.account.may_leave(message)
            return
        assert self.account.may_leave(message), result
        if message.kind == "marketing":
            self.account.handed[self.account.person(message)] += 1
        self.begun[worker].append((claimed, result.attempt))

    def end(self) -> None:
        worker = self.rng.choice(WORKERS)
        if not self.begun[worker]:
            return
        claimed, attempt = self.begun[worker].pop()
        outcome = self.rng.choice(_OUTCOMES)
        self.take(claimed.message, outcome)
        mail.record(self.session, claimed, outcome, attempt, owner=worker)

    def take(self, message: Message, outcome: ReplyClass) -> None:
        """What the relay knows of an attempt."""
        unknown = outcome is ReplyClass.UNKNOWN
        self.account.unknowns[message.id] += unknown
        if outcome is ReplyClass.SENT or (unknown and self.rng.random() < 0.5):
            self.account.taken[message.id] += 1
        elif not unknown and message.kind == "marketing":
            self.account.handed[self.account.person(message)] -= 1

    def die(self) -> None:
        """A worker dies with all that it holds, and another one takes it back."""
        worker = self.rng.choice(WORKERS)
        for claimed, _ in self.begun[worker]:
            self.take(claimed.message, ReplyClass.UNKNOWN)
        self.session.place.run_sql(
            "UPDATE messages SET lease_until_us = 1 WHERE owner = ? AND lease_until_us > 0", worker
        )
        self.session.run(self.session.store.messages.outbox.rescue(100))
        # Whatever it still believes to hold, it can begin nothing.
        for claimed in self.claims[worker]:
            assert mail.start(self.session, claimed, owner=worker).attempt is None
        self.claims[worker], self.begun[worker] = [], []

    def consent(self) -> None:
        person = self.rng.choice(PEOPLE)
        wanted = person in self.account.unsubscribed
        self.session.run(
            self.session.store.topics.subscribe(
                self.project, self.contacts[person], self.topic, START_US, wanted=wanted
            )
        )
        (self.account.unsubscribed.discard if wanted else self.account.unsubscribed.add)(person)

    def suppress(self) -> None:
        person = self.rng.choice(PEOPLE)
        suppressions = self.session.store.messages.suppressions
        if person in self.account.suppressed:
            listed = self.session.run(
                suppressions.of_address(self.project, f"{person}@example.net")
            )
            for entry in listed:
                self.session.run(suppressions.remove(self.project, entry.id, START_US, actor="me"))
            del self.account.suppressed[person]
            return
        scope = self.rng.choice(tuple(SuppressionScope))
        fields = SuppressionFields(email=f"{person}@example.net", scope=scope, note="")
        self.session.run(suppressions.add(self.project, fields, START_US, actor="me"))
        self.account.suppressed[person] = scope.value

    def pause(self) -> None:
        self.account.paused = not self.account.paused
        value = "mail" if self.account.paused else "none"
        mail.set_policy(self.session, self.project, "sending_paused", value)

    def wait(self) -> None:
        """Time passes: what waits for a later time is due."""
        self.session.place.run_sql("UPDATE messages SET due_us = 1 WHERE due_us IS NOT NULL")

    def finish(self) -> None:
        """All workers die, nothing is in the way any more, and the relay takes everything."""
        for _ in WORKERS:
            self.die()
        for worker in WORKERS:
            for claimed, attempt in self.begun[worker]:
                self.take(claimed.message, ReplyClass.SENT)
                mail.record(self.session, claimed, ReplyClass.SENT, attempt, owner=worker)
        self.session.place.run_sql(
            "UPDATE messages SET lease_until_us = 1 WHERE lease_until_us > 0"
        )
        self.session.run(self.session.store.messages.outbox.rescue(100))
        if self.account.paused:
            self.pause()
        self.wait()
        while claims := mail.claim(self.session, limit=20):
            for claimed in claims:
                result = mail.start(self.session, claimed)
                if result.attempt is not None:
                    self.take(claimed.message, ReplyClass.SENT)
                    mail.record(self.session, claimed, ReplyClass.SENT, result.attempt)
            self.wait()

    def check_end(self) -> None:
        rows = self.session.place.run_sql("SELECT id, state, due_us, owner FROM messages")
        assert {row[0] for row in rows} == set(self.account.messages)
        states = {row[0]: MessageStatus(row[1]) for row in rows}
        told = Counter(
            payload["message_id"]
            for _, payload in system_events(self.session, "sendrealm.mail.send")
        )
        for message_id, state in states.items():
            message, taken = self.account.messages[message_id], self.account.taken[message_id]
            unknowns = self.account.unknowns[message_id]
            assert state.final or state is MessageStatus.UNKNOWN, message
            if message.kind == "marketing":
                assert taken <= 1
            assert taken <= 1 + unknowns
            assert told[message_id] == (state is MessageStatus.SENT)
            if state is MessageStatus.SKIPPED:
                assert taken == 0
            if not unknowns:
                assert taken == (state is MessageStatus.SENT)
        assert all(row[2] is None and row[3] is None for row in rows)


@pytest.mark.parametrize("seed", range(4))
def test_a_random_history_sends_once_and_only_to_allowed_recipients(
    session: StoreSession, seed: int
) -> None:
    history = History(session, seed)
    for _ in range(STEPS):
        history.step()
    history.finish()
    history.check_end()
