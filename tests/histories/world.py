"""A history on a real store, step by step beside the oracle."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import asyncpg

from headrace.domain.access.policies import Policies
from headrace.domain.contacts.audiences import AudienceFields
from headrace.domain.contacts.contact import ContactWrite, shown_email
from headrace.domain.contacts.topics import TopicFields
from headrace.domain.errors import ApiError
from headrace.pipeline.processing.plan import BatchPlanner, Rules
from headrace.store.contacts.groups.audiences import UnknownContactsError
from headrace.store.contract.contacts import ContactFilter
from headrace.store.contract.erasures import SETTLE_US
from headrace.store.contract.errors import StoreConflictError
from headrace.store.contract.merges import MergeRejectedError, PairStatus
from headrace.store.engine.postgres.database import prepare_connection
from headrace.store.sqlite import SqliteStore
from tests.histories.steps import EMAILS, EXTERNAL_IDS, Step
from tests.support.events import START_US, new_event
from tests.support.everywhere import tables
from tests.support.people_oracle import GONE, IDENTIFIERS, TRACE, Event, Oracle, Refused
from tests.support.places import Place, PostgresPlace, SqlitePlace
from tests.support.queue import SECOND_US, Queue
from tests.support.session import StoreSession

#: A contact that never was.
NOBODY = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"
_RAW_TRACE = re.compile(TRACE.pattern.encode(), re.IGNORECASE)


class Difference(AssertionError):
    """A store and the oracle do not say the same."""


class World:
    """One store in one history."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.session = StoreSession(place)
        self.queue = Queue(self.session)
        self.oracle = Oracle()
        self.planner = BatchPlanner(Rules({1: Policies()}, ()))
        self.now_us = START_US + SECOND_US
        #: By label - 1, by place, by place.
        self.contacts: list[str] = []
        self.topics: list[str] = []
        self.audiences: list[str] = []
        self.merges: list[str] = []
        #: Sequence of an event -> what the oracle knows of it.
        self.events: dict[int, Event] = {}
        self._numbers = itertools.count(1)
        #: A new connection for each question would take most of the time.
        self._server: asyncpg.Connection[Any] | None = None
        if isinstance(place, PostgresPlace):
            self._server = self.session.run(connect(place.url))

    def close(self) -> None:
        if self._server is not None:
            self.session.run(self._server.close())
        self.session.close()

    def _ask(self, sql: str) -> Sequence[tuple[Any, ...]]:
        """Rows past the store: only what is committed is seen."""
        if self._server is None:
            return self.place.run_sql(sql)
        return [tuple(row) for row in self.session.run(self._server.fetch(sql))]

    # Steps

    def take(self, step: Step) -> Any:
        """Take a step on both sides; what came of it.

        Raises:
            Difference: not the same.
        """
        self.now_us += SECOND_US
        self.queue.clock.now_us = self.now_us
        wanted, found = getattr(self, f"_{step.kind}")(step)
        self._meet()
        _same(f"outcome of {step.kind}", found, wanted)
        return found

    def _run(self, work: Any) -> Any:
        """What a verb answers, or why it refuses."""
        try:
            return self.session.run(work)
        except StoreConflictError as error:
            return ("refused", *error.args)
        except MergeRejectedError as error:
            return ("refused", error.rejection.value)

    @staticmethod
    def _expect(verb: Any, *values: Any, **options: Any) -> Any:
        try:
            return verb(*values, **options)
        except Refused as refused:
            return ("refused", *refused.args)

    def _id(self, place: int) -> tuple[int, str]:
        """Label and id of a contact; now and then of one that never was."""
        label = place % (len(self.contacts) + 1)
        return (GONE, NOBODY) if label == GONE else (label, self.contacts[label - 1])

    def _meet(self) -> None:
        """Learn the ids of contacts that are new."""
        rows = self._ask("SELECT id FROM contacts ORDER BY number")
        known = set(self.contacts)
        self.contacts += [row[0] for row in rows if row[0] not in known]
        _same("number of contacts that ever were", len(self.contacts), self.oracle.labels)

    def label(self, contact_id: str | None) -> int | None:
        """Label of an id; None for nobody's."""
        return self.contacts.index(contact_id) + 1 if contact_id in self.contacts else None

    def _write(self, said: dict[str, Any], **options: Any) -> tuple[ContactWrite, dict[str, Any]]:
        """A write as the store and as the oracle takes it."""
        naive = {name: value for name, value in said.items() if name != "ago"}
        fields = dict(naive)
        if said.get("email") is not None:
            fields |= {"email": said["email"].lower(), "email_original": said["email"]}
        if "ago" in said:
            naive["occurred_us"] = fields["occurred_us"] = self.now_us - said["ago"] * SECOND_US
        return ContactWrite(**fields, **options), naive

    def _create(self, step: Step) -> tuple[Any, Any]:
        write, naive = self._write(step.write)
        wanted = self._expect(self.oracle.create, naive, self.now_us)
        made = self._run(self.session.store.contacts.create(1, write, self.now_us, source="api"))
        return wanted, self._outcome(made)

    def _outcome(self, made: Any) -> Any:
        if made is None or (isinstance(made, tuple) and made[0] == "refused"):
            return made
        contact = made[0] if isinstance(made, tuple) else made
        self._meet()
        return self.label(contact.id)

    def _upsert(self, step: Step) -> tuple[Any, Any]:
        write, naive = self._write(step.write, link=step.flag)
        wanted = self._expect(self.oracle.upsert, naive, self.now_us, link=step.flag)
        made = self._run(self.session.store.contacts.upsert(1, write, self.now_us, source="api"))
        return wanted, self._outcome(made)

    def _import(self, step: Step) -> tuple[Any, Any]:
        """Several upserts in one transaction; every other time nothing but a rehearsal."""
        both = [self._write(said, link=True) for said in step.writes]
        dry_run = step.a % 3 == 0
        wanted: Any = len(both)
        if not dry_run:
            wanted = [
                self._expect(self.oracle.upsert, naive, self.now_us, link=True) for _, naive in both
            ]
        made = self.session.run(
            self.session.store.contacts.upsert_many(
                1, [write for write, _ in both], self.now_us, source="import", dry_run=dry_run
            )
        )
        if dry_run:
            return wanted, len(made)
        self._meet()
        return wanted, [
            ("refused", *(problem.field for problem in each.details))
            if isinstance(each, ApiError)
            else self.label(each.contact.id)
            for each in made
        ]

    def _update(self, step: Step) -> tuple[Any, Any]:
        label, contact_id = self._id(step.a)
        write, naive = self._write(step.write)
        wanted = self._expect(self.oracle.update, label, naive, self.now_us)
        contacts = self.session.store.contacts
        made = self._run(contacts.update(1, contact_id, write, self.now_us, source="api"))
        return wanted, self._outcome(made)

    def _delete(self, step: Step) -> tuple[Any, Any]:
        label, contact_id = self._id(step.a)
        contacts = self.session.store.contacts
        done = self._run(contacts.delete(1, contact_id, self.now_us, source="api"))
        return self.oracle.delete(label), done

    def _event(self, step: Step) -> tuple[Any, Any]:
        label, contact_id = self._id(step.a)
        email = step.write.get("email")
        happened_us = self.now_us - step.ago * SECOND_US
        payload = {"$set": step.sets, "$set_once": step.once}
        number = next(self._numbers)
        event = new_event(
            sequence=((self.now_us // 1000) << 21) + number,
            contact_id=contact_id if step.by_id else None,
            external_id=step.write.get("external_id"),
            email=email and email.lower(),
            email_original=email,
            payload=json.dumps({name: said for name, said in payload.items() if said}),
            occurred_us=happened_us,
            received_us=self.now_us,
        )
        self.queue.accept(event)
        known = Event(
            number=event.sequence,
            contact=label if step.by_id else None,
            external_id=event.external_id,
            email=event.email,
            original=email,
            sets=step.sets,
            once=step.once,
            happened_us=happened_us,
        )
        self.events[event.sequence] = known
        self.oracle.events.append(known)
        self.oracle.waiting.append(known)
        return None, None

    def _process(self, step: Step) -> tuple[Any, Any]:
        """All that waits, in batches of some size."""
        del step
        while batch := self.queue.claim():
            for claimed in batch:
                event = self.events.get(claimed.sequence)
                if event is not None:
                    self.oracle.waiting.remove(event)
                    self.oracle.process(event)
            self.queue.process(batch, self.planner)
        return [], self.oracle.waiting

    def _merge(self, step: Step) -> tuple[Any, Any]:
        (own, own_id), (other, other_id) = self._id(step.a), self._id(step.b)
        wanted = self._expect(self.oracle.merge, own, other, self.now_us)
        merges = self.session.store.merges
        made = self._run(merges.merge(1, own_id, other_id, self.now_us, actor="t"))
        if isinstance(made, tuple):
            return wanted, made
        self.merges.append(made.id)
        return wanted, len(self.merges) - 1

    def _undo(self, step: Step) -> tuple[Any, Any]:
        if not self.merges:
            return None, None
        number = step.thing % len(self.merges)
        wanted = self._expect(self.oracle.undo, number)
        merges = self.session.store.merges
        done = self._run(merges.undo(1, self.merges[number], self.now_us, actor="t"))
        return wanted, done if isinstance(done, tuple) else None

    def _dismiss(self, step: Step) -> tuple[Any, Any]:
        page = self._pairs(PairStatus.OPEN)
        if not page:
            return None, None
        pair = sorted(page, key=self._labels)[step.thing % len(page)]
        known = self.oracle.pairs.get(frozenset(self._labels(pair)))
        if known is not None:
            known.dismissed = "reason"
        merges = self.session.store.merges
        self._run(merges.dismiss(1, pair.id, "reason", self.now_us, actor="t"))
        return None, None

    def _topic(self, step: Step) -> tuple[Any, Any]:
        fields = TopicFields(name=f"t{len(self.topics)}", default_subscribed=step.flag)
        self.topics.append(self._run(self.session.store.topics.create(1, fields, self.now_us)).id)
        self.oracle.topics.append(step.flag)
        return None, None

    def _drop_topic(self, step: Step) -> tuple[Any, Any]:
        if not self.topics:
            return None, None
        topic = step.thing % len(self.topics)
        wanted = self.oracle.topics[topic] is not None
        self.oracle.topics[topic] = None
        topics = self.session.store.topics
        return wanted, self._run(topics.delete(1, self.topics[topic], self.now_us))

    def _subscribe(self, step: Step) -> tuple[Any, Any]:
        if not self.topics:
            return None, None
        label, contact_id = self._id(step.a)
        topic = step.thing % len(self.topics)
        wanted = self.oracle.subscribe(label, topic, self.now_us, wanted=step.flag)
        done = self._run(
            self.session.store.topics.subscribe(
                1, contact_id, self.topics[topic], self.now_us, wanted=step.flag
            )
        )
        return wanted, None if done is None else done.is_subscribed

    def _opt_out(self, step: Step) -> tuple[Any, Any]:
        label, contact_id = self._id(step.a)
        done = self._run(self.session.store.topics.opt_out(1, contact_id, self.now_us))
        return self.oracle.opt_out(label, self.now_us), None if done is None else True

    def _audience(self, step: Step) -> tuple[Any, Any]:
        del step
        fields = AudienceFields(name=f"a{len(self.audiences)}")
        made = self._run(self.session.store.audiences.create(1, fields, self.now_us))
        self.audiences.append(made.id)
        return None, None

    def _enter(self, step: Step) -> tuple[Any, Any]:
        if not self.audiences:
            return None, None
        label, contact_id = self._id(step.a)
        audience = step.thing % len(self.audiences)
        person = self.oracle.find(label)
        if person is not None:
            person.audiences.setdefault(audience, self.now_us)
        audiences = self.session.store.audiences
        try:
            self._run(audiences.enter(1, self.audiences[audience], [contact_id], self.now_us))
        except UnknownContactsError:
            return person is not None, False
        return person is not None, True

    def _exit(self, step: Step) -> tuple[Any, Any]:
        if not self.audiences:
            return None, None
        label, contact_id = self._id(step.a)
        audience = step.thing % len(self.audiences)
        person = self.oracle.find(label)
        wanted = person is not None and person.audiences.pop(audience, None) is not None
        audiences = self.session.store.audiences
        return wanted, self._run(
            audiences.exit(1, self.audiences[audience], contact_id, self.now_us)
        )

    def _erase(self, step: Step) -> tuple[Any, Any]:
        """Forget somebody to the end, and look for what is left in every table and file."""
        label, contact_id = self._id(step.a)
        erasures = self.session.store.erasures
        begun = self._run(erasures.begin(1, contact_id, self.now_us, actor="t"))
        wanted = self.oracle.erase(label, told_is_left=begun is not None)
        if begun is not None:
            settled_us = self.now_us + SETTLE_US
            while self._run(erasures.advance(begun.id, 3, settled_us)):
                pass
            assert self._run(erasures.wipe(settled_us))
            self.check_traces()
        return wanted, begun is not None

    # Looking

    def check(self) -> Any:
        """Compare everything that can be asked; what was found, in labels.

        Raises:
            Difference: not the same.
        """
        found, wanted = dict(self._found()), dict(self._wanted())
        for name, value in wanted.items():
            _same(name, found[name], value)
        self._check_told()
        return found

    def _found(self) -> Iterator[tuple[str, Any]]:
        store, run = self.session.store, self.session.run
        page = run(store.contacts.list(1, ContactFilter(), before=None, limit=200)).contacts
        yield (
            "contacts",
            [
                (
                    self.label(each.id),
                    each.external_id,
                    shown_email(each),
                    dict(sorted(each.properties.items())),
                )
                for each in page
            ],
        )
        leads: dict[str, Any] = {}
        for name, values in (("external_id", EXTERNAL_IDS), ("email", EMAILS)):
            for value in values:
                wanted = ContactFilter(**{name: value.lower()})  # type: ignore[arg-type]
                listed = run(store.contacts.list(1, wanted, before=None, limit=9)).contacts
                leads[value] = [self.label(each.id) for each in listed]
        yield "who is found by an identifier", leads
        ids = {}
        for label, contact_id in enumerate(self.contacts, 1):
            held = run(store.contacts.get(1, contact_id))
            ids[label] = None if held is None else self.label(held.id)
        yield "who is found by an id", ids
        yield "subscriptions", self._subscriptions([each.id for each in page])
        yield (
            "audiences",
            {
                self.label(each.id): sorted(
                    self.audiences.index(audience.id)
                    for audience in run(store.audiences.of_contact(1, each.id))
                )
                for each in page
            },
        )
        for status in PairStatus:
            pairs = [
                (list(self._labels(pair)), sorted(pair.fields), pair.events)
                for pair in self._pairs(status)
            ]
            yield f"{status.value} conflicts", sorted(pairs)
        merges = run(store.merges.list(1, before=None, limit=200))
        yield (
            "merges",
            [
                (self.label(m.contact_id), self.label(m.other_contact_id), m.undone_us is not None)
                for m in reversed(merges)
            ],
        )
        yield "events", self._resolved()

    def _subscriptions(self, contact_ids: Sequence[str]) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for contact_id in contact_ids:
            topics = self.session.store.topics
            states = self.session.run(topics.subscriptions(1, contact_id, before=None, limit=99))
            assert states is not None
            found[self.label(contact_id)] = {
                self.topics.index(state.topic.id): state.is_subscribed for state in states
            }
        return found

    def _pairs(self, status: PairStatus) -> Any:
        merges = self.session.store.merges
        return self.session.run(merges.pairs(1, before=None, limit=200, status=status)).pairs

    def _labels(self, pair: Any) -> tuple[int, ...]:
        ids = (pair.contact_id, pair.other_contact_id)
        return tuple(sorted(self.label(each) or GONE for each in ids))

    def _resolved(self) -> dict[int, Any]:
        """Customer events that are left, by the order of their coming, and whom they are about."""
        sql = (
            "SELECT sequence, resolved_contact_id FROM events WHERE source <> 3"
            if isinstance(self.session.store, SqliteStore)
            else "SELECT e.sequence, o.contact_id FROM events e LEFT JOIN event_states o "
            "ON o.lane = e.lane AND o.sequence = e.sequence WHERE e.source <> 3"
        )
        places = {sequence: place for place, sequence in enumerate(self.events)}
        rows = self._ask(sql)
        return {places[sequence]: self.label(about) for sequence, about in sorted(rows)}

    def _wanted(self) -> Iterator[tuple[str, Any]]:
        oracle = self.oracle
        yield (
            "contacts",
            [
                (
                    person.label,
                    person.external_id,
                    person.original,
                    {n: held[0] for n, held in sorted(person.held.items()) if held[0] is not None},
                )
                for person in reversed(oracle.people)
            ],
        )
        leads: dict[str, Any] = {}
        for name, values in (("external_id", EXTERNAL_IDS), ("email", EMAILS)):
            for value in values:
                owner = oracle.owner(name, value.lower())
                leads[value] = [] if owner is None else [owner.label]
        yield "who is found by an identifier", leads
        ids = {}
        for label in range(1, oracle.labels + 1):
            person = oracle.find(label)
            ids[label] = None if person is None else person.label
        yield "who is found by an id", ids
        yield (
            "subscriptions",
            {
                person.label: {t: oracle.subscribed(person, t) for t in oracle.live_topics()}
                for person in oracle.people
            },
        )
        yield "audiences", {p.label: sorted(p.audiences) for p in oracle.people}
        for status in PairStatus:
            dismissed = status is PairStatus.DISMISSED
            yield f"{status.value} conflicts", oracle.open_pairs(dismissed=dismissed)
        yield (
            "merges",
            [(m.own, m.other, m.undone) for m in oracle.merges if m.own != GONE],
        )
        places = {sequence: place for place, sequence in enumerate(self.events)}
        yield "events", {places[event.number]: event.person for event in oracle.events}

    def _check_told(self) -> None:
        """What the system told of each field goes on from event to event, up to what is so."""
        if self.oracle.erased:
            # What was told of others meanwhile, of one who was merged then, may be gone too.
            return
        rows = self._ask(
            "SELECT event, contact_id, payload FROM events WHERE source = 3 ORDER BY sequence"
        )
        told = _Told()
        for name, contact_id, text in rows:
            told.take(name.removeprefix("sendrealm."), contact_id, json.loads(text))
        for person in self.oracle.people:
            shown = person.shown()
            for field, value in told.fields(self.contacts[person.label - 1]).items():
                _same(f"last told {field}", value, shown.get(field))

    def check_traces(self) -> None:
        """Nothing of anybody is left but what the oracle knows.

        Raises:
            Difference: something is.
        """
        allowed = self.oracle.strings()
        for table in tables(self.place):
            rows = self._ask(f"SELECT * FROM {table}")
            self._refuse(f"table {table}", {t.lower() for t in TRACE.findall(repr(rows))}, allowed)
        for name, data in self._raw_files():
            found = {text.decode().lower() for text in _RAW_TRACE.findall(data)}
            self._refuse(f"file {name}", found, allowed)

    @staticmethod
    def _refuse(where: str, found: set[str], allowed: set[str]) -> None:
        if found - allowed:
            raise Difference(f"{where} still holds {sorted(found - allowed)}")

    def _raw_files(self) -> Iterator[tuple[str, bytes]]:
        """Every file of the embedded store; on the server those of the tables, written out."""
        place = self.place
        if isinstance(place, SqlitePlace):
            for path in sorted(place.path.parent.rglob("*")):
                if path.is_file():
                    yield path.name, path.read_bytes()
            return
        assert isinstance(place, PostgresPlace)
        # What is removed stays in its page until that is cleaned up, in the database's own time.
        self._ask("VACUUM FULL")
        self._ask("CHECKPOINT")
        ((oid,),) = self._ask("SELECT oid FROM pg_database WHERE datname = current_database()")
        for path in sorted((place.server.data / "base" / str(oid)).iterdir()):
            yield path.name, path.read_bytes()


class _Told:
    """What system events have told so far, in their order."""

    def __init__(self) -> None:
        self._alive: dict[str, bool] = {}
        #: Contact and field, or topic or audience.
        self._state: dict[tuple[str, str], Any] = {}

    def take(self, kind: str, contact_id: str, payload: dict[str, Any]) -> None:
        """One event, with its name from the second word on."""
        if kind in {"contact.created", "contact.deleted"}:
            if self._alive.get(contact_id, False) is (kind == "contact.created"):
                raise Difference(f"{kind} is told twice")
            self._alive[contact_id] = kind == "contact.created"
            self._state = {k: value for k, value in self._state.items() if k[0] != contact_id}
        elif not self._alive.get(contact_id):
            raise Difference(f"{kind} is told of a contact that is not there")
        elif kind == "contact.updated":
            for field, change in payload["changes"].items():
                self._change(contact_id, field, change)
        else:
            thing = payload.get("topic_id") or payload["audience_id"]
            on = kind in {"topic.subscribed", "audience.entered"}
            if self._state.get((contact_id, thing)) is on:
                raise Difference(f"{kind} is told twice")
            self._state[contact_id, thing] = on

    def _change(self, contact_id: str, field: str, change: dict[str, Any]) -> None:
        key = (contact_id, field)
        if key in self._state:
            _same(f"told change of {field}", change["from"], self._state[key])
        if change["from"] == change["to"]:
            raise Difference(f"{field} is told to change from and to {change['to']}")
        self._state[key] = change["to"]

    def fields(self, contact_id: str) -> dict[str, Any]:
        """Fields of a contact that a change was told of, as they were told last."""
        return {
            name: value
            for (about, name), value in self._state.items()
            if about == contact_id and (name in IDENTIFIERS or name.startswith("properties."))
        }


def _same(what: str, found: Any, wanted: Any) -> None:
    if found != wanted:
        raise Difference(f"{what}:\n  found  {found}\n  wanted {wanted}")


async def connect(url: str) -> asyncpg.Connection[Any]:
    """A connection past the store that reads as the store does."""
    connection = await asyncpg.connect(url)
    await prepare_connection(connection)
    return connection
