"""A random history of runs that send mail, with a naive idea of which mail may be sent when.

The oracle knows only what people did: who is subscribed, which addresses are suppressed, what was
handed over when. It shares no code with the guardrails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from headrace.domain.automations.running.runs import stable_id
from headrace.domain.automations.running.states import StepStatus
from headrace.domain.messages.kinds import MessageKind, MessageStatus, SuppressionScope
from headrace.domain.messages.requests import SuppressionFields
from headrace.domain.messages.smtp_replies import ReplyClass
from headrace.store.contract.automations import RunRow
from headrace.store.contract.erasures import SETTLE_US
from headrace.store.contract.messages import Claimed, Message
from tests.support.automation_mail import MailWorker, send_mail
from tests.support.everywhere import tables_with
from tests.support.stored_automations import PROJECT, SECOND_US, StoredAutomations, chain, delay

OTHER_PROJECT = 2
#: Of one step.
ACTIONS = 4
BERLIN, NEW_YORK, KOLKATA = "Europe/Berlin", "America/New_York", "Asia/Kolkata"
#: The fourth is no zone, so that of the project counts.
ZONES = (BERLIN, NEW_YORK, KOLKATA, "Mars/Olympus", None)
#: Begin and end of quiet hours; some begin or end in the hour that is skipped or repeated.
QUIET = (("22:00", "07:00"), ("01:30", "02:30"), ("02:15", "02:45"), ("02:00", "03:00"))
OUTCOMES = (
    *([ReplyClass.SENT] * 8),
    *(ReplyClass.DEFERRED, ReplyClass.UNKNOWN, ReplyClass.UNKNOWN),
    *(ReplyClass.ADDRESS_BAD, ReplyClass.TOO_LARGE),
)
#: Outcomes after which a mail may be with its receiver.
TAKEN = frozenset({MessageStatus.SENT, MessageStatus.UNKNOWN})
#: What an event may leave that concerns no automation.
TABLES = (
    *("automation_inbox", "automation_runs", "automation_notes", "automation_entries"),
    *("automation_starts", "rejected_starts", "messages", "message_attempts", "dead_letters"),
)
DONE = frozenset({StepStatus.COMPLETED, StepStatus.SKIPPED})


@dataclass(kw_only=True)
class Handed:
    """The last time that a message was handed over."""

    at_us: int
    kind: MessageKind
    #: Whether its receiver may have it.
    counts: bool = True


@dataclass(kw_only=True)
class Person:
    """What the oracle knows about a person."""

    name: str
    contact_id: str
    zone: str | None
    subscribed: bool = True
    #: Reason -> scope.
    suppressed: dict[str, SuppressionScope] = field(default_factory=dict)
    #: Message -> its hand-over.
    handed: dict[str, Handed] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Normalized."""
        return f"{self.name}@example.net"


def eve_of_clock_change(after_us: int, zone: str) -> int:
    """20 hours before the next night in which clocks change."""
    place = ZoneInfo(zone)
    hour = datetime.fromtimestamp(after_us // SECOND_US // 3600 * 3600, UTC) + timedelta(days=1)
    while (hour.astimezone(place).utcoffset()) == (
        (hour + timedelta(hours=1)).astimezone(place).utcoffset()
    ):
        hour += timedelta(hours=1)
    return int((hour - timedelta(hours=19)).timestamp()) * SECOND_US


class GuardedHistory:
    """One automation whose runs send mail, and three people.

    Args:
        shop: mail is set up, and another project exists.
    """

    def __init__(self, shop: StoredAutomations, seed: int) -> None:
        self.shop = shop
        self.chance = Random(seed)
        self.tag = f"g{seed}x{shop.new_event().sequence}"
        self.go = f"{self.tag}.go"
        self._made = 0
        # What an earlier history of the same store has left.
        shop.session.place.run_sql(
            "UPDATE messages SET state = 'cancelled', due_us = NULL, owner = NULL, "
            "lease_until_us = 0, handed_us = NULL"
        )
        shop.session.place.run_sql("UPDATE automation_runs SET due_us = NULL")
        eve_us = eve_of_clock_change(shop.clock(), self.chance.choice((BERLIN, NEW_YORK)))
        shop.clock.now_us = eve_us
        self.people = [self._person() for _ in range(3)]
        self.caps: list[dict[str, Any]] = []
        self.quiet: dict[str, Any] | None = None
        self.default_zone = "UTC"
        self.policies()
        self.workers = [MailWorker(shop, self._owner()) for _ in range(2)]
        self.claims: list[tuple[MailWorker, Claimed]] = []
        #: Begun attempts: worker, claim, number.
        self.begun: list[tuple[MailWorker, Claimed, int]] = []
        #: The same of workers that were taken for dead.
        self.ghosts: list[tuple[MailWorker, Claimed]] = []
        self.late: list[tuple[MailWorker, Claimed, int]] = []
        self.of = shop.start_with(self._definition(), self.go)
        self.finished: dict[tuple[str, str], tuple[Any, ...]] = {}
        #: How often each action had something to do.
        self.done: dict[str, int] = {}
        self.actions: list[Callable[[], bool]] = [
            *([self.begin] * 3),
            *([self.later] * 4),
            *([self.hand_over] * 6),
            *([self.end] * 4),
            *([self.subscribe] * 2),
            *([self.allow] * 4),
            *(self.die, self.ghost, self.late_result, self.unsubscribe, self.suppress),
            *(self.move, self.policies, self.retry, self.repeat, self.nobody),
            self.settle_unknown,
        ]

    def step(self) -> None:
        """Some random actions and all that follows from them; then everything is checked."""
        for action in self.chance.choices(self.actions, k=ACTIONS):
            if action():
                self.done[action.__name__] = self.done.get(action.__name__, 0) + 1
        self.shop.settle()
        self.check()

    # People.

    def _definition(self) -> dict[str, Any]:
        steps = [
            send_mail(),
            send_mail(kind="transactional"),
            send_mail(on_failed="next"),
            delay(1800),
            delay(7200),
        ]
        self.chance.shuffle(steps)
        # Entries and rejected starts are written, which an erasure has to remove.
        reentry = {"mode": "once_per", "seconds": 60}
        return chain(*steps, event=self.go, trigger={"reentry": reentry})

    def _owner(self) -> str:
        self._made += 1
        return f"{self.tag}/{self._made}:1:1"

    def _person(self) -> Person:
        self._made += 1
        name = f"{self.tag}p{self._made}"
        zone = self.chance.choice(ZONES)
        contact = self._write(name, zone)
        return Person(name=name, contact_id=contact, zone=zone)

    def _write(self, name: str, zone: str | None) -> str:
        properties = {"timezone": zone, "secret": name}
        return self.shop.contact(name, email=f"{name}@example.net", properties=properties).id

    def pick(self) -> Person:
        return self.chance.choice(self.people)

    def begin(self) -> bool:
        for person in self.chance.sample(self.people, self.chance.randint(1, 3)):
            self.shop.accept(self.go, {"secret": person.name}, external_id=person.name)
        self.shop.settle()
        return True

    def later(self) -> bool:
        self.shop.clock.forward(self.chance.choice((60, 900, 1800, 3600, 3600, 4 * 3600)))
        return True

    def unsubscribe(self) -> bool:
        person = self.pick()
        topics, now_us = self.shop.session.store.topics, self.shop.clock()
        if self.chance.random() < 0.3:
            self.shop.session.run(topics.opt_out(PROJECT, person.contact_id, now_us))
        else:
            self._choose(person, wanted=False)
        person.subscribed = False
        return True

    def subscribe(self) -> bool:
        person = self.pick()
        self._choose(person, wanted=True)
        person.subscribed = True
        return True

    def _choose(self, person: Person, *, wanted: bool) -> None:
        store, now_us = self.shop.session.store, self.shop.clock()
        (topic,) = self.shop.session.run(store.topics.list(PROJECT, before=None, limit=2))
        work = store.topics.subscribe(PROJECT, person.contact_id, topic.id, now_us, wanted=wanted)
        self.shop.session.run(work)

    def suppress(self) -> bool:
        person = self.pick()
        scope = self.chance.choice([*SuppressionScope])
        fields = SuppressionFields(email=person.address, scope=scope, note="")
        store = self.shop.session.store.messages.suppressions
        self.shop.session.run(store.add(PROJECT, fields, self.shop.clock(), actor="tester"))
        # A second entry by hand widens the first.
        if person.suppressed.get("manual") is not SuppressionScope.ALL:
            person.suppressed["manual"] = scope
        return True

    def allow(self) -> bool:
        """Take an address from the list again, whatever the reason."""
        person = self.pick()
        store = self.shop.session.store.messages.suppressions
        listed = self.shop.session.run(store.of_address(PROJECT, person.address))
        assert {each.reason.value for each in listed} == person.suppressed.keys()
        for each in listed:
            work = store.remove(PROJECT, each.id, self.shop.clock(), actor="tester")
            assert self.shop.session.run(work) is not None
        person.suppressed.clear()
        return bool(listed)

    def move(self) -> bool:
        """A person moves to another time zone."""
        person = self.pick()
        person.zone = self.chance.choice(ZONES)
        self._write(person.name, person.zone)
        return True

    def policies(self) -> bool:
        chance = self.chance
        self.caps = [
            {
                "channel": "mail",
                "max": chance.randint(1, 3),
                "per_seconds": chance.choice((1800, 7200, 86_400)),
                "kinds": chance.choice((["marketing"], ["marketing", "transactional"])),
                "on_cap": chance.choice(("skip", "defer")),
            }
            for _ in range(chance.choice((0, 1, 1, 2)))
        ]
        self.quiet = None
        if chance.random() < 0.7:
            begin, end = chance.choice(QUIET)
            self.quiet = {"start": begin, "end": end}
            if chance.random() < 0.3:
                self.quiet["timezone"] = chance.choice((BERLIN, KOLKATA))
        self.default_zone = chance.choice(("UTC", NEW_YORK))
        for name, value in (
            ("frequency_caps", self.caps),
            ("quiet_hours", self.quiet),
            ("default_timezone", self.default_zone),
        ):
            projects, now_us = self.shop.session.store.projects, self.shop.clock()
            work = projects.set_policy(PROJECT, name, value, now_us, actor="tester")
            self.shop.session.run(work)
        return True

    # Mail.

    def hand_over(self) -> bool:
        """Claim, and begin some of what is claimed; the rest waits for a later step."""
        worker = self.chance.choice(self.workers)
        self.claims += [(worker, each) for each in worker.claim(self.chance.randint(1, 5))]
        going = [each for each in self.claims if self.chance.random() < 0.7]
        self.claims = [each for each in self.claims if each not in going]
        for worker, claimed in going:
            begun = worker.start(claimed)
            if begun.attempt is not None:
                self._may_be_sent(claimed.message)
                self.begun.append((worker, claimed, begun.attempt))
        return bool(going)

    def end(self) -> bool:
        """The relay answers, or the connection is lost; some attempts last longer."""
        going = [each for each in self.begun if self.chance.random() < 0.7]
        self.begun = [each for each in self.begun if each not in going]
        for each in going:
            self._record(*each)
        return bool(going)

    def _record(self, worker: MailWorker, claimed: Claimed, attempt: int) -> None:
        outcome = self.chance.choice(OUTCOMES)
        state = worker.record(claimed, attempt, outcome).state
        person = self._person_of(claimed.message)
        if state is None or person is None:
            return
        person.handed[claimed.message.id].counts = state in TAKEN
        if outcome is ReplyClass.ADDRESS_BAD:
            person.suppressed["hard_bounce"] = SuppressionScope.ALL

    def die(self) -> bool:
        """A worker is taken for dead; another one takes back its messages."""
        dead = self.workers.pop(self.chance.randrange(2))
        (other,) = self.workers
        self.workers.append(MailWorker(self.shop, self._owner()))
        other.outbox._is_alive = lambda owner: owner != dead.owner
        self.shop.session.run(other.outbox.rescue(100))
        other.outbox._is_alive = lambda _: True
        self.ghosts += [each for each in self.claims if each[0] is dead]
        self.late += [each for each in self.begun if each[0] is dead]
        self.claims = [each for each in self.claims if each[0] is not dead]
        self.begun = [each for each in self.begun if each[0] is not dead]
        return bool(self.ghosts or self.late)

    def ghost(self) -> bool:
        """It was only paused, and tries to hand over what it had claimed."""
        for worker, claimed in self.ghosts:
            assert worker.start(claimed).lost
        found, self.ghosts = bool(self.ghosts), []
        return found

    def late_result(self) -> bool:
        """It was only paused, and records how its attempts ended."""
        late, self.late = self.late, []
        for each in late:
            self._record(*each)
        return bool(late)

    def settle_unknown(self) -> bool:
        rows = self._rows("SELECT id FROM messages WHERE state = 'unknown' AND due_us IS NULL")
        lists = self.shop.session.store.messages.lists
        for (message_id,) in rows:
            outcome = self.chance.choice(("sent", "failed", "retry"))
            work = lists.settle(PROJECT, message_id, outcome, self.shop.clock(), actor="tester")
            found = self.shop.session.run(work)
            person = None if found is None else self._person_of(found)
            if person is not None and outcome != "sent":
                person.handed[message_id].counts = False
        return bool(rows)

    def _person_of(self, message: Message) -> Person | None:
        return next((one for one in self.people if one.contact_id == message.contact_id), None)

    def _may_be_sent(self, message: Message) -> None:
        """What people asked for before the hand-over was respected."""
        person, now_us = self._person_of(message), self.shop.clock()
        assert person is not None, "to a person who was erased"
        marketing = message.kind is MessageKind.MARKETING
        for reason, scope in person.suppressed.items():
            widest = reason == "hard_bounce" or scope is SuppressionScope.ALL
            forbidden = marketing or widest
            assert not forbidden, f"to a suppressed address: {reason}, {scope}"
        if marketing:
            assert person.subscribed, "marketing to a person who unsubscribed"
            for cap in self.caps:
                since_us = now_us - cap["per_seconds"] * SECOND_US
                counted = sum(
                    each.counts and each.kind in cap["kinds"] and each.at_us > since_us
                    for message_id, each in person.handed.items()
                    if message_id != message.id
                )
                assert counted < cap["max"], f"more than {cap}"
            assert not self._is_quiet(person, now_us), f"in quiet hours {self.quiet}"
        person.handed[message.id] = Handed(at_us=now_us, kind=message.kind)

    def _is_quiet(self, person: Person, now_us: int) -> bool:
        if self.quiet is None:
            return False
        own = person.zone if person.zone in {BERLIN, NEW_YORK, KOLKATA} else None
        zone = self.quiet.get("timezone") or own or self.default_zone
        clock = datetime.fromtimestamp(now_us / SECOND_US, UTC).astimezone(ZoneInfo(zone))
        minute = f"{clock:%H:%M}"
        begin, end = self.quiet["start"], self.quiet["end"]
        if begin < end:
            return bool(begin <= minute < end)
        return bool(minute >= begin or minute < end)

    # Runs.

    def _runs(self) -> list[RunRow]:
        return self.shop.runs(self.of)

    def retry(self) -> bool:
        """A retry of a failed run sends the same message again, and creates none."""
        failed = [row for row in self._runs() if row.status == "failed"]
        if not failed:
            return False
        before = self._messages()
        work = self.shop.operations().retry(
            PROJECT, self.chance.choice(failed).id, "try", actor="tester"
        )
        self.shop.session.run(work)
        assert self._messages() == before
        return True

    def repeat(self) -> bool:
        """An event that has begun a run is replayed: nothing follows from it."""
        runs = self._runs()
        if not runs:
            return False
        row = self.chance.choice(runs)
        before = self._messages(), self.counts(("automation_runs", "automation_notes"))
        self.shop.session.place.run_sql(
            "INSERT INTO automation_inbox (lane, sequence, project_id, contact_id, due_us) "
            f"VALUES (?, ?, {PROJECT}, ?, 1)",
            *(row.event_lane, row.sequence, row.contact_id),
        )
        self.shop.session.run(self.shop.work.work_events("a"))
        after = self._messages(), self.counts(("automation_runs", "automation_notes"))
        assert after == before
        return True

    def nobody(self) -> bool:
        """Events that nobody waits for write no row, not even for a moment."""
        person = self.pick()
        before = self.counts(TABLES)
        self.shop.accept(f"{self.tag}.nobody", external_id=person.name)
        self.shop.accept(self.go, project_id=OTHER_PROJECT, external_id=f"other-{self.tag}")
        self.shop.process()
        assert self.counts(TABLES) == before
        return True

    def erase(self) -> None:
        """Erase a person: only the hash of a suppressed address is left."""
        person = self.people.pop(self.chance.randrange(len(self.people)))
        store, session = self.shop.session.store, self.shop.session
        place = session.place
        assert tables_with(place, person.name)
        erasure = session.run(
            store.erasures.begin(PROJECT, person.contact_id, self.shop.clock(), actor="tester")
        )
        assert erasure is not None
        later_us = self.shop.clock() + SETTLE_US
        while session.run(store.erasures.advance(erasure.id, 100, later_us)):
            pass
        assert session.run(store.erasures.wipe(later_us + 9))
        # What workers of mail still hold of the person changes nothing.
        for worker, claimed in [*self.claims, *self.ghosts]:
            if claimed.message.contact_id == person.contact_id:
                assert worker.start(claimed).attempt is None
        for worker, claimed, attempt in [*self.begun, *self.late]:
            if claimed.message.contact_id == person.contact_id:
                assert worker.record(claimed, attempt).state is None
        self.claims = self._without(self.claims, person)
        self.ghosts = self._without(self.ghosts, person)
        self.begun = self._without(self.begun, person)
        self.late = self._without(self.late, person)
        self.shop.settle()
        assert tables_with(place, person.name) == []
        left = set(tables_with(place, person.contact_id))
        assert left <= {"erasures", "erased_contacts", "audit", "events", "event_queue"}, left
        hashes = self._rows("SELECT count(*) FROM suppressions WHERE email IS NULL")[0][0]
        assert hashes >= len(person.suppressed)
        self.people.append(self._person())

    def _without(self, held: list[Any], person: Person) -> list[Any]:
        return [each for each in held if each[1].message.contact_id != person.contact_id]

    # What holds.

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return list(self.shop.session.place.run_sql(sql, *values))

    def counts(self, tables: tuple[str, ...]) -> list[int]:
        """Rows of each table."""
        counts = ", ".join(f"(SELECT count(*) FROM {table})" for table in tables)
        return list(self._rows(f"SELECT {counts}")[0])

    def _messages(self) -> list[tuple[Any, ...]]:
        return self._rows(
            "SELECT id, run_id, step_key FROM messages WHERE automation_id = ? ORDER BY id",
            self.of.id,
        )

    def check(self) -> None:
        """Messages belong to one step each, and what was completed stays as it is."""
        for message_id, run_id, step_key in self._messages():
            assert message_id == stable_id(run_id, step_key)
        runs, session = self.shop.session.store.automations.runs, self.shop.session
        for row in self._runs():
            detail = session.run(runs.get(PROJECT, row.id))
            assert detail is not None
            for step in detail.run.steps:
                if step.status in DONE:
                    now = (step.status, step.branch, step.reason, step.finished_us)
                    assert self.finished.setdefault((row.id, step.key), now) == now
