"""A person who is forgotten is nowhere any more, and everybody else is where they were."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Sequence
from typing import Any

import pytest

from headrace.domain.audiences import AudienceFields
from headrace.domain.contacts import Contact, ContactWrite
from headrace.domain.events import FirstCopy, NewEvent, Status
from headrace.domain.policies import Policies
from headrace.domain.topics import TopicFields
from headrace.pipeline.cataloguer import Cataloguer
from headrace.pipeline.plan import BatchPlanner, Rules
from headrace.store.contract import Rejection
from headrace.store.contract_erasures import SETTLE_US, Erasure, ErasureStatus
from headrace.store.contract_processing import (
    BatchPlan,
    Claimed,
    FindContact,
    Planner,
    SubscriberRule,
)
from tests.store.events import START_US, new_event
from tests.store.places import SqlitePlace
from tests.store.session import StoreSession
from tests.support.everywhere import files_with, tables, tables_with
from tests.support.queue import Queue, sequences
from tests.support.stored_rows import columns, insert

CANARY = "kanarienvogel"
X = f"{CANARY}-1"
EMAIL = f"{CANARY}@b.example"
ABSENT = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"
SUBSCRIBER = "5d6a2e1f-3f1d-4a31-8a5c-0a4c3d8d8f10"
LATER_US = START_US + 60_000_000
#: What stays of a person when it is done: the receipt, and who erased whom.
RECEIPTS = {"erasures", "erased_contacts", "audit", "events", "work"}


class Cataloguing:
    """A planner whose plans also say what the payloads are made of, as the worker's do."""

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self._cataloguer = Cataloguer()

    def __call__(self, batch: Sequence[Claimed], find: FindContact) -> BatchPlan:
        plan = self._planner(batch, find)
        plan.catalog = self._cataloguer.look(batch, backlog=False)
        return plan


class People:
    """A store with events that are processed by the real planner."""

    def __init__(self, session: StoreSession) -> None:
        self.session = session
        self.queue = Queue(session)
        rules = [SubscriberRule(SUBSCRIBER, 1, ("*",), enabled=True)]
        self.planner: Planner = BatchPlanner(Rules({1: Policies()}, rules))

    def create(self, **fields: Any) -> Contact:
        write = ContactWrite(**fields)
        return self.session.run(
            self.session.store.contacts.create(1, write, START_US, source="api")
        )

    def get(self, contact_id: str) -> Contact | None:
        return self.session.run(self.session.store.contacts.get(1, contact_id))

    def accept(self, **changes: Any) -> NewEvent:
        event = new_event(**changes)
        self.queue.accept(event)
        return event

    def process(self) -> None:
        while batch := self.queue.claim():
            self.queue.process(batch, self.planner)

    def begin(self, contact_id: str) -> Erasure | None:
        return self.session.run(
            self.session.store.erasures.begin(1, contact_id, LATER_US, actor="tester")
        )

    def advance(self, erasure: Erasure, limit: int = 3) -> bool:
        now_us = LATER_US + SETTLE_US
        return self.session.run(self.session.store.erasures.advance(erasure.id, limit, now_us))

    def finish(self, erasure: Erasure) -> Erasure:
        """Forget to the end; the receipt."""
        while self.advance(erasure):
            pass
        assert self.session.run(self.session.store.erasures.wipe(LATER_US + 9))
        found = self.session.run(self.session.store.erasures.get(1, erasure.id))
        assert found is not None
        return found

    def erase(self, contact_id: str) -> Erasure:
        begun = self.begin(contact_id)
        assert begun is not None
        return self.finish(begun)

    def names(self) -> list[str | None]:
        """External ids of events that are left, in order of receipt."""
        rows = self.session.place.run_sql(
            "SELECT external_id FROM events WHERE source <> 3 ORDER BY sequence"
        )
        return [row[0] for row in rows]


@pytest.fixture
def people(session: StoreSession) -> People:
    return People(session)


def fill_every_table(people: People, contact: Contact, event: NewEvent) -> None:
    """Whatever else can hold something about a person."""
    session, place = people.session, people.session.place
    about = {"lane": event.lane, "sequence": event.sequence, "project_id": 1}
    insert(place, "key_repeats", **about, number=1, at_us=0, request_id=CANARY, mismatch=False)
    failed = {"at_us": 0, "duration_us": 0, "cause": "c", "error": CANARY}
    insert(place, "processing_attempts", **about, number=1, **failed)
    rows = place.run_sql("SELECT number FROM deliveries WHERE sequence = ?", event.sequence)
    attempt = {"lane": event.lane, "delivery_number": rows[0][0], "number": 1, "excerpt": CANARY}
    insert(place, "delivery_attempts", **attempt, **failed)
    dead = {"number": 77, "id": "l", "event": "a.b", "kind": "processing", "attempts": 1}
    times = {"first_failed_us": 0, "dead_lettered_us": 0, "state": 0}
    insert(place, "dead_letters", **about, **dead, **times, cause="c", error=CANARY)
    retry = new_event(external_id=X, payload=f'{{"a":"{CANARY}"}}')
    people.queue.accept(retry)
    place.run_sql("DELETE FROM work WHERE sequence = ?", retry.sequence)
    waiting = {"lane": retry.lane, "sequence": retry.sequence, "project_id": 1}
    insert(place, "work_retries", **waiting, due_us=LATER_US * 2, attempt=1, crashes=0)
    rejection = Rejection(
        project_id=1,
        at_us=0,
        status=422,
        code="ValidationError",
        message=f"The member '{CANARY}' is there twice.",
        details=[("email", f"{EMAIL} is not an address")],
        route=f"GET /events/by-idempotency-key/{X}",
        api_key_id=None,
        request_id="r",
        body_shape={EMAIL: "string of 3"},
        body_bytes=0,
    )
    named_only_in_its_shape = Rejection(
        project_id=1,
        at_us=0,
        status=422,
        code="ValidationError",
        message="m",
        details=[],
        route="POST /contacts",
        api_key_id=None,
        request_id="r",
        body_shape={X: "string of 3"},
        body_bytes=0,
    )
    session.run(session.store.rejections.add([rejection, named_only_in_its_shape]))
    detail = f'{{"external_id":"{X}"}}'
    audit = {"at_us": 0, "actor": "a", "project_id": 1, "action": "x", "detail": detail}
    insert(place, "audit", **audit)
    topic = session.run(session.store.topics.create(1, TopicFields(name="News"), START_US))
    session.run(session.store.topics.subscribe(1, contact.id, topic.id, START_US, wanted=True))
    session.run(session.store.topics.opt_out(1, contact.id, START_US))
    audience = session.run(session.store.audiences.create(1, AudienceFields(name="VIP"), START_US))
    session.run(session.store.audiences.enter(1, audience.id, [contact.id], START_US))
    fill_catalog(people, event)


def fill_catalog(people: People, event: NewEvent) -> None:
    place = people.session.place
    common = {"lane": 0, "project_id": 1, "event": "a.b"}
    seen = {"first_us": 0, "last_us": 0, "events": 1, "sources": 1, "inspected": 1}
    example = {"example": f'{{"{EMAIL}":"…"}}', "example_id": event.id}
    insert(place, "catalog_names", **common, **seen, **example)
    path = {"path": f"users.{EMAIL}.age", "first_us": 0, "last_us": 0, "types": 1, "looks": 0}
    numbers = {"present": 1, "first_number": 1, "last_number": 1, "sequence": event.sequence}
    insert(place, "catalog_paths", **common, **path, **numbers)
    drift = {"number": 1, "kind": "new_path", "type": 0, "at_us": 0, "before": 0}
    insert(place, "catalog_drift", **common, **drift, path=f"users.{EMAIL}.age")


def test_nothing_is_left_in_any_table_or_file(people: People) -> None:
    contact = people.create(
        external_id=X,
        email=EMAIL,
        email_original=EMAIL.upper(),
        properties={"name": CANARY},
    )
    twin = people.create(external_id=f"{CANARY}-2", properties={"old": CANARY})
    merges = people.session.store.merges
    people.session.run(merges.merge(1, contact.id, twin.id, START_US, actor="tester"))
    other = people.create(external_id="other", email="other@b.example")
    event = people.accept(
        external_id=X, key=f"{CANARY}-key", payload=f'{{"secret":"{CANARY}","$set":{{"a":1}}}}'
    )
    people.accept(external_id=f"{CANARY}-2", payload=f'{{"secret":"{CANARY}"}}')
    people.accept(external_id=None, email=EMAIL, email_original=EMAIL.upper())
    people.accept(external_id=None, contact_id=twin.id, payload=f'{{"secret":"{CANARY}"}}')
    people.accept(external_id="other", email=EMAIL)
    people.accept(external_id="other", payload='{"kept":1}')
    people.process()
    fill_every_table(people, contact, event)
    place = people.session.place
    before = set(tables_with(place, CANARY)) | set(tables_with(place, CANARY.upper()))
    assert {"events", "contacts", "dead_letters", "rejections", "audit", "merges"} <= before

    receipt = people.erase(contact.id)

    assert receipt.status is ErasureStatus.DONE
    assert tables_with(place, CANARY) == []
    assert tables_with(place, CANARY.upper()) == []
    if isinstance(place, SqlitePlace):
        assert files_with(place.path.parent, CANARY) == []
        assert files_with(place.path.parent, CANARY.upper()) == []
    about = {contact.id, twin.id}
    held = {table for each in about for table in tables_with(place, each)}
    assert held <= RECEIPTS, held
    assert people.names() == ["other"]
    assert people.get(other.id) == other
    expected = {
        "contacts": 1,
        "identifiers": 2,
        "merges": 1,
        "topics": 2,
        "audiences": 1,
        "key_repeats": 1,
        "attempts": 1,
        "delivery_attempts": 1,
        "dead_letters": 1,
        "rejections": 2,
        "audit": 1,
        "catalog_paths": 2,
        "catalog_examples": 1,
    }
    assert expected.items() <= receipt.counts.items()


def test_every_table_is_looked_at(session: StoreSession) -> None:
    """The word is found wherever it may stand, in tables that come later too."""
    place = session.place
    place.run_sql("CREATE TABLE later (word TEXT)")
    place.run_sql("INSERT INTO later VALUES (?)", f"a {CANARY} b")
    assert tables_with(place, CANARY) == ["later"]
    assert {"events", "contacts", "erasures", "deliveries"} <= set(tables(place))


def test_what_arrives_later_is_about_somebody_new(people: People) -> None:
    contact = people.create(external_id=X, email=EMAIL)
    begun = people.begin(contact.id)
    assert begun is not None
    people.accept(external_id=X, email=EMAIL)
    people.process()
    people.finish(begun)

    found = people.session.run(
        people.session.store.contacts.upsert(1, ContactWrite(external_id=X), LATER_US, source="api")
    )
    assert found[0].id != contact.id
    assert (found[0].email, found[1]) == (EMAIL, False)
    assert people.names() == [X]


def test_events_in_line_make_no_contact_any_more(people: People) -> None:
    """Whoever has them in hand already finds them gone."""
    contact = people.create(external_id=X)
    before = [people.accept(external_id=X) for _ in range(2)]
    bystander = people.accept(external_id="other")
    batch = people.queue.claim()
    assert {event.sequence for event in (*before, bystander)} <= set(sequences(batch))

    begun = people.begin(contact.id)
    assert begun is not None
    people.queue.process(batch, people.planner)
    people.process()

    assert people.queue.status(bystander.sequence) is Status.PROCESSED
    assert people.names() == ["other"]
    receipt = people.finish(begun)
    assert receipt.counts["events"] >= 2
    assert tables_with(people.session.place, X) == []


def test_an_event_that_fails_meanwhile_waits_for_nothing(people: People) -> None:
    contact = people.create(external_id=X)
    people.process()
    people.accept(external_id=X)
    (claimed,) = people.queue.claim()
    people.erase(contact.id)

    assert not people.queue.fail(claimed, retry_in_s=1)
    assert not people.queue.fail(claimed)
    assert people.session.place.run_sql("SELECT count(*) FROM work_retries") == [(0,)]
    assert people.session.place.run_sql("SELECT count(*) FROM dead_letters") == [(0,)]


def test_it_goes_on_slice_by_slice(people: People) -> None:
    contact = people.create(external_id=X)
    for _ in range(7):
        people.accept(external_id=X)
    people.process()
    begun = people.begin(contact.id)
    assert begun is not None
    left: list[int] = []
    while people.advance(begun, 3):
        left.append(len(people.names()))
        (running,) = people.session.run(people.session.store.erasures.unfinished(10))
        assert running.status is ErasureStatus.RUNNING
    assert left[0] >= 4
    assert left[-1] == 0
    (wiping,) = people.session.run(people.session.store.erasures.unfinished(10))
    assert (wiping.status, wiping.finished_us) == (ErasureStatus.WIPING, None)


def test_an_event_with_very_many_deliveries_is_a_slice_by_itself(people: People) -> None:
    contact = people.create(external_id=X)
    events = [people.accept(external_id=X) for _ in range(3)]
    people.process()
    add_deliveries(people, events, 800)
    receipt = people.erase(contact.id)
    assert receipt.counts["deliveries"] >= 2400
    assert people.session.place.run_sql("SELECT count(*) FROM deliveries WHERE id LIKE 'd%'") == [
        (0,)
    ]


def add_deliveries(people: People, events: Sequence[NewEvent], count: int) -> None:
    place = people.session.place
    number = 10_000
    for event in events:
        lane = f"{event.lane}, " if "lane" in columns(place, "deliveries") else ""
        names = "lane, " if lane else ""
        place.run_sql(
            f"INSERT INTO deliveries ({names}number, id, project_id, sequence, subscriber_id, "  # noqa: S608
            f"state, due_us, created_us) WITH RECURSIVE n (i) AS (SELECT {number} UNION ALL "
            f"SELECT i + 1 FROM n WHERE i < {number + count - 1}) "
            f"SELECT {lane}i, 'd' || i, 1, {event.sequence}, 's', 3, 0, 0 FROM n"
        )
        number += count


def test_rejections_of_before_are_waited_for(people: People) -> None:
    contact = people.create(external_id=X)
    begun = people.begin(contact.id)
    assert begun is not None
    erasures = people.session.store.erasures
    people.session.run(erasures.advance(begun.id, 100, LATER_US))
    assert people.session.run(erasures.advance(begun.id, 100, LATER_US + SETTLE_US - 1))
    assert not people.session.run(erasures.advance(begun.id, 100, LATER_US + SETTLE_US))


def test_asking_again_gives_the_same_erasure(people: People) -> None:
    contact = people.create(external_id=X)
    begun = people.begin(contact.id)
    assert begun is not None
    again = people.begin(contact.id)
    assert again == begun
    done = people.finish(begun)
    assert people.begin(contact.id) == done


def test_a_contact_that_was_deleted_before_is_forgotten_by_its_events(people: People) -> None:
    contact = people.create(external_id=X)
    people.accept(external_id=X)
    people.process()
    people.session.run(people.session.store.contacts.delete(1, contact.id, LATER_US, source="api"))

    people.erase(contact.id)

    assert people.names() == []


def test_a_deleted_contact_is_forgotten_by_what_was_written_about_it(people: People) -> None:
    contact = people.create(external_id="x")
    write = ContactWrite(email=EMAIL)
    contacts = people.session.store.contacts
    people.session.run(contacts.update(1, contact.id, write, START_US, source="api"))
    assert people.session.run(contacts.delete(1, contact.id, START_US, source="api"))

    people.erase(contact.id)

    assert set(tables_with(people.session.place, CANARY)) == set()


@pytest.mark.parametrize("erased", [0, 1, 2])
def test_after_merges_and_a_deletion_all_is_forgotten(people: People, erased: int) -> None:
    """A merged into B, B into C, C deleted: each of the three ids leads to all."""
    session = people.session
    a = people.create(external_id=f"{CANARY}-a", email=EMAIL)
    b = people.create(external_id=f"{CANARY}-b", properties={"pet": CANARY})
    c = people.create(external_id=f"{CANARY}-c")
    for contact in (a, b, c):
        people.accept(external_id=contact.external_id, payload=f'{{"pet": "{CANARY}"}}')
    people.process()
    for own, other in ((b, a), (c, b)):
        session.run(session.store.merges.merge(1, own.id, other.id, START_US, actor="tester"))
    assert session.run(session.store.contacts.delete(1, c.id, START_US, source="api"))
    assert "merges" not in tables_with(session.place, CANARY)

    receipt = people.erase((a, b, c)[erased].id)

    assert receipt.counts["events"] >= 3
    assert set(tables_with(session.place, CANARY)) == set()


def test_whom_nobody_knows_nobody_forgets(people: People) -> None:
    contact = people.create(external_id=X)
    erasures = people.session.store.erasures
    assert people.begin(ABSENT) is None
    assert people.session.run(erasures.begin(2, contact.id, LATER_US, actor="tester")) is None
    assert people.get(contact.id) == contact
    done = people.erase(contact.id)
    assert people.session.run(erasures.get(2, done.id)) is None
    assert people.session.run(erasures.get(1, str(uuid.uuid4()))) is None


def test_another_project_keeps_its_person_of_that_name(people: People) -> None:
    contact = people.create(external_id=X)
    people.queue.accept(new_event(project_id=2, external_id=X))
    people.process()
    people.erase(contact.id)
    assert people.names() == [X]


def test_a_placeholder_is_not_looked_for(people: People) -> None:
    """Events of many people carry it."""
    contact = people.create(external_id="null", email=EMAIL)
    people.accept(external_id="null")
    people.accept(external_id="null", email=EMAIL)
    people.process()
    people.erase(contact.id)
    rows = people.session.place.run_sql("SELECT email FROM events WHERE source <> 3")
    assert rows == [(None,)]


def test_erasures_are_listed_newest_first(people: People) -> None:
    made = [people.begin(people.create(external_id=name).id) for name in "ab"]
    first, second = made
    assert first is not None
    assert second is not None
    erasures = people.session.store.erasures
    assert people.session.run(erasures.list(1, before=None, limit=10)) == [second, first]
    assert people.session.run(erasures.list(1, before=second.number, limit=10)) == [first]
    assert people.session.run(erasures.list(2, before=None, limit=10)) == []


def test_forgetting_while_workers_work_leaves_nothing_half_done(people: People) -> None:
    """Neither a row of an event that is gone, nor a contact made of one."""
    contact = people.create(external_id=X)
    people.queue.accept(
        *(
            new_event(external_id=X if n % 3 else f"other-{n}", payload='{"$set":{"a":1}}')
            for n in range(240)
        )
    )
    erasures = people.session.store.erasures

    async def work() -> None:
        while batch := await people.queue.store.claim("a", 16):
            await people.queue.store.process("a", batch, people.planner, 0, subscribers_version=0)

    async def forget() -> None:
        begun = await erasures.begin(1, contact.id, LATER_US, actor="tester")
        assert begun is not None
        while await erasures.advance(begun.id, 10, LATER_US + SETTLE_US):
            pass

    async def both() -> None:
        await asyncio.gather(work(), forget())

    people.session.run(both())
    people.process()
    place = people.session.place
    assert people.session.run(erasures.wipe(LATER_US))
    assert set(people.names()) == {f"other-{n}" for n in range(0, 240, 3)}
    assert tables_with(place, X) == []
    kept = "SELECT count(*) FROM {} WHERE sequence NOT IN (SELECT sequence FROM events)"
    for table in ("work", "work_retries", "deliveries", "outcomes"):
        if columns(place, table):
            assert place.run_sql(kept.format(table)) == [(0,)], table


def test_a_key_of_an_event_that_is_being_erased_is_free(people: People) -> None:
    """The repeat is stored, once, and stays; it is not answered with what is about to go."""
    contact = people.create(external_id=X)
    for n in range(3):
        people.accept(external_id=X, key=f"k{n}")
    people.process()
    people.accept(external_id="other", key="k-other")
    begun = people.begin(contact.id)
    assert begun is not None

    again = [new_event(external_id="y", key=f"k{n}") for n in (0, 1, 2, 2)]
    outcomes = people.session.accept(*again, new_event(external_id="y", key="k-other"))

    assert outcomes[:3] == [None, None, None]
    assert isinstance(outcomes[3], FirstCopy)
    assert outcomes[3].id == again[2].id
    assert isinstance(outcomes[4], FirstCopy)
    people.finish(begun)
    assert people.names() == ["other", "y", "y", "y"]
    people.process()
    (repeat,) = people.session.accept(new_event(external_id="y", key="k0"))
    assert isinstance(repeat, FirstCopy)
    assert repeat.id == again[0].id


def merged_and_undone(people: People, own: Contact, other: Contact) -> None:
    merges = people.session.store.merges
    merge = people.session.run(merges.merge(1, own.id, other.id, START_US, actor="tester"))
    # What is written to both while they are one may be of either.
    write = ContactWrite(properties={"nickname": None})
    contacts = people.session.store.contacts
    people.session.run(contacts.update(1, own.id, write, START_US + 1, source="api"))
    people.session.run(merges.undo(1, merge.id, START_US + 2, actor="tester"))


@pytest.mark.parametrize("is_processed", [False, True])
@pytest.mark.parametrize("is_deleted", [False, True])
def test_after_an_undone_merge_the_survivor_tells_nothing(
    people: People, *, is_processed: bool, is_deleted: bool
) -> None:
    """What Headrace wrote about the survivor while it had the person's data."""
    survivor = people.create(external_id="survivor", properties={"city": "Rome"})
    person = people.create(
        external_id=X, email=EMAIL, properties={"nickname": CANARY, "tags": [CANARY]}
    )
    merged_and_undone(people, survivor, person)
    contacts = people.session.store.contacts
    write = ContactWrite(properties={"city": "Oslo"})
    people.session.run(contacts.update(1, survivor.id, write, START_US + 3, source="api"))
    if is_processed:
        people.process()
    if is_deleted:
        people.session.run(contacts.delete(1, person.id, START_US + 4, source="api"))
    assert "events" in tables_with(people.session.place, CANARY)

    people.erase(person.id)

    assert tables_with(people.session.place, CANARY) == []
    if isinstance(people.session.place, SqlitePlace):
        assert files_with(people.session.place.path.parent, CANARY) == []
    payloads = changes_of(people, survivor)
    # What was changed later stays.
    assert payloads[-1] == {"properties.city": {"from": "Rome", "to": "Oslo"}}
    assert len(payloads) >= 3
    kept = people.get(survivor.id)
    assert kept is not None
    assert kept.properties == {"city": "Oslo"}


def changes_of(people: People, contact: Contact) -> list[Any]:
    """`changes` of what was told of a contact, in order."""
    rows = people.session.place.run_sql(
        "SELECT payload FROM events WHERE contact_id = ? AND event = ? ORDER BY sequence",
        contact.id,
        "sendrealm.contact.updated",
    )
    return [json.loads(row[0])["changes"] for row in rows]


def test_undone_merges_in_a_chain_tell_nothing(people: People) -> None:
    """C into B, B into A, both undone: A had the data of C, too."""
    a = people.create(external_id="a")
    b = people.create(external_id="b")
    c = people.create(properties={"pet": CANARY}, email=EMAIL)
    merges = people.session.store.merges
    first = people.session.run(merges.merge(1, b.id, c.id, START_US, actor="t"))
    second = people.session.run(merges.merge(1, a.id, b.id, START_US + 1, actor="t"))
    people.session.run(merges.undo(1, second.id, START_US + 2, actor="t"))
    people.session.run(merges.undo(1, first.id, START_US + 3, actor="t"))
    people.process()

    people.erase(c.id)

    assert tables_with(people.session.place, CANARY) == []
    assert people.get(a.id) is not None
    assert people.get(b.id) is not None


def test_an_address_that_went_on_to_somebody_else(people: People) -> None:
    """The one who had it before is told of without it; who has it today is another person."""
    before = people.create(external_id="before", email=EMAIL)
    contacts = people.session.store.contacts
    cleared = ContactWrite(email=None)
    people.session.run(contacts.update(1, before.id, cleared, START_US, source="api"))
    person = people.create(external_id=X, email=EMAIL)
    people.process()

    people.erase(person.id)

    assert tables_with(people.session.place, CANARY) == []
    assert people.get(before.id) is not None


def test_a_second_erasure_takes_what_has_come_since(people: People) -> None:
    own, other = people.create(external_id=X), people.create(external_id="y")
    merges = people.session.store.merges
    people.session.run(merges.merge(1, own.id, other.id, START_US, actor="tester"))
    first = people.erase(own.id)
    people.process()
    secret = f'{{"secret":"{CANARY}"}}'
    people.accept(external_id=None, contact_id=own.id, email=EMAIL, payload=secret)
    people.accept(external_id=None, contact_id=other.id, email=EMAIL, payload=secret)
    people.process()

    second = people.erase(other.id)

    assert second.id != first.id
    assert tables_with(people.session.place, CANARY) == []
    assert people.names() == []
    assert second.counts["events"] == 2
    assert set(second.report.contact_ids) == {own.id, other.id}
    (earlier,) = second.report.earlier
    assert (earlier.id, earlier.counts) == (first.id, first.counts)
    # Nothing has come since: the newest receipt, by either id.
    people.process()
    assert people.begin(own.id) == second
    assert people.begin(other.id) == second


def test_asked_again_while_it_runs_it_takes_what_has_come_since(people: People) -> None:
    contact = people.create(external_id=X)
    begun = people.begin(contact.id)
    assert begun is not None
    secret = f'{{"secret":"{CANARY}"}}'
    people.accept(external_id=None, contact_id=contact.id, payload=secret)
    again = people.begin(contact.id)
    assert again is not None
    assert again.id == begun.id
    people.accept(external_id=None, contact_id=contact.id, payload='{"kept":1}')

    people.finish(begun)

    assert tables_with(people.session.place, CANARY) == []
    assert people.names() == [None]


def test_a_person_who_came_back_is_forgotten_with_the_former_contact(people: People) -> None:
    """Created, changed, deleted, created again by an event: the system told of the first one."""
    former = people.create(external_id=X)
    people.accept(external_id=X)
    people.process()
    contacts = people.session.store.contacts
    write = ContactWrite(email=EMAIL, properties={"pet": CANARY})
    people.session.run(contacts.update(1, former.id, write, START_US, source="api"))
    people.session.run(contacts.delete(1, former.id, START_US, source="api"))
    people.process()
    people.accept(external_id=X)
    people.process()
    found = people.session.run(
        contacts.upsert(1, ContactWrite(external_id=X), LATER_US, source="api")
    )[0]
    assert found.id != former.id

    people.erase(found.id)

    assert tables_with(people.session.place, CANARY) == []


def test_paths_that_only_the_person_had_go_from_the_catalog(people: People) -> None:
    people.planner = Cataloguing(people.planner)
    contact = people.create(external_id=X)
    for n in range(5):
        people.accept(external_id=X, payload=f'{{"both":1,"kanari":{{"vogel":{n}}}}}')
    people.accept(external_id="other", payload='{"both":1,"theirs":2}')
    people.process()
    place = people.session.place
    paths = "SELECT path FROM catalog_paths WHERE event = 'order.completed' ORDER BY path"
    assert [row[0] for row in place.run_sql(paths)] == ["both", "kanari", "kanari.vogel", "theirs"]

    people.erase(contact.id)

    assert [row[0] for row in place.run_sql(paths)] == ["both", "theirs"]
    drift = "SELECT count(*) FROM catalog_drift WHERE path LIKE 'kanari%'"
    assert place.run_sql(drift) == [(0,)]


def test_erasing_a_survivor_leaves_the_other_of_an_undone_merge(people: People) -> None:
    survivor = people.create(external_id=X, properties={"pet": CANARY})
    other = people.create(external_id="other", properties={"city": "Rome"})
    merged_and_undone(people, survivor, other)
    people.process()

    people.erase(survivor.id)

    assert tables_with(people.session.place, CANARY) == []
    assert people.get(other.id) == other
