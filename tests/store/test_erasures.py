"""A forgotten person is removed everywhere, and everyone else is unchanged."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Sequence
from typing import Any

import pytest

from headrace.domain.contacts.contact import Contact, ContactWrite
from headrace.domain.events.event import FirstCopy, NewEvent, Status
from headrace.domain.timestamps import now_us
from headrace.store.contract.erasures import SETTLE_US, ErasureStatus
from headrace.store.privacy import mention_search
from tests.support.events import START_US, new_event
from tests.support.everywhere import files_with, tables, tables_with
from tests.support.forgetting import (
    ABSENT,
    CANARY,
    EMAIL,
    LATER_US,
    Cataloguing,
    People,
    X,
    fill_every_table,
)
from tests.support.places import SqlitePlace
from tests.support.queue import sequences
from tests.support.session import StoreSession
from tests.support.stored_rows import columns, insert

#: What is kept of a person afterwards: the receipt and the audit of the erasure.
RECEIPTS = {"erasures", "erased_contacts", "audit", "events", "event_queue"}


@pytest.fixture
def people(session: StoreSession) -> People:
    return People(session)


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
        "duplicate_requests": 1,
        "attempts": 1,
        "delivery_attempts": 1,
        "dead_letters": 1,
        "rejections": 2,
        "audit": 1,
        "catalog_paths": 2,
        "catalog_examples": 1,
        "automation_runs": 1,
        "automation_notes": 1,
        "automation_entries": 1,
        "automation_inbox": 1,
        "rejected_starts": 1,
        "push_devices": 1,
        "push_device_events": 1,
        "push_notifications": 2,
        "push_attempts": 2,
        "push_engagement": 2,
    }
    assert expected.items() <= receipt.counts.items()


def test_every_table_is_searched(session: StoreSession) -> None:
    """The word is found in every text column, also of tables added later."""
    place = session.place
    place.run_sql("CREATE TABLE later (word TEXT)")
    place.run_sql("INSERT INTO later VALUES (?)", f"a {CANARY} b")
    assert tables_with(place, CANARY) == ["later"]
    assert {"events", "contacts", "erasures", "deliveries"} <= set(tables(place))


def test_later_events_are_about_a_new_person(people: People) -> None:
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


def test_queued_events_of_the_person_create_no_contact(people: People) -> None:
    """A worker that has claimed them finds them removed."""
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


def test_event_that_fails_meanwhile_has_no_retry(people: People) -> None:
    contact = people.create(external_id=X)
    people.process()
    people.accept(external_id=X)
    (claimed,) = people.queue.claim()
    people.erase(contact.id)

    assert not people.queue.fail(claimed, retry_in_s=1)
    assert not people.queue.fail(claimed)
    assert people.session.place.run_sql("SELECT count(*) FROM event_retries") == [(0,)]
    assert people.session.place.run_sql("SELECT count(*) FROM dead_letters") == [(0,)]


def test_erasure_runs_in_slices(people: People) -> None:
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
            f"INSERT INTO deliveries ({names}number, id, project_id, sequence, subscriber_id, "
            f"state, due_us, created_us) WITH RECURSIVE n (i) AS (SELECT {number} UNION ALL "
            f"SELECT i + 1 FROM n WHERE i < {number + count - 1}) "
            f"SELECT {lane}i, 'd' || i, 1, {event.sequence}, 's', 3, 0, 0 FROM n"
        )
        number += count


def test_erasure_waits_for_earlier_rejections(people: People) -> None:
    contact = people.create(external_id=X)
    begun = people.begin(contact.id)
    assert begun is not None
    erasures = people.session.store.erasures
    people.session.run(erasures.advance(begun.id, 100, LATER_US))
    assert people.session.run(erasures.advance(begun.id, 100, LATER_US + SETTLE_US - 1))
    assert not people.session.run(erasures.advance(begun.id, 100, LATER_US + SETTLE_US))


def test_repeated_request_returns_the_same_erasure(people: People) -> None:
    contact = people.create(external_id=X)
    begun = people.begin(contact.id)
    assert begun is not None
    again = people.begin(contact.id)
    assert again == begun
    done = people.finish(begun)
    assert people.begin(contact.id) == done


def test_contact_deleted_before_is_found_by_its_events(people: People) -> None:
    contact = people.create(external_id=X)
    people.accept(external_id=X)
    people.process()
    people.session.run(people.session.store.contacts.delete(1, contact.id, LATER_US, source="api"))

    people.erase(contact.id)

    assert people.names() == []


def test_deleted_contact_is_found_by_events_about_it(people: People) -> None:
    contact = people.create(external_id="x")
    write = ContactWrite(email=EMAIL)
    contacts = people.session.store.contacts
    people.session.run(contacts.update(1, contact.id, write, START_US, source="api"))
    assert people.session.run(contacts.delete(1, contact.id, START_US, source="api"))

    people.erase(contact.id)

    assert set(tables_with(people.session.place, CANARY)) == set()


@pytest.mark.parametrize("erased", [0, 1, 2])
def test_everything_is_erased_after_merges_and_a_deletion(people: People, erased: int) -> None:
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


def test_unknown_person_cannot_be_erased(people: People) -> None:
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


def test_placeholder_is_not_searched_for(people: People) -> None:
    """Events of many people have it."""
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


def test_erasing_while_workers_run_leaves_nothing_partial(people: People) -> None:
    """Neither a row of a removed event, nor a contact created by one."""
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
    for table in ("event_queue", "event_retries", "deliveries", "event_states"):
        if columns(place, table):
            assert place.run_sql(kept.format(table)) == [(0,)], table


def test_a_key_of_an_event_that_is_being_erased_is_free(people: People) -> None:
    """The duplicate is stored once and stays; the response does not name the erased event."""
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
    # Changes while they are merged may belong to either.
    write = ContactWrite(properties={"nickname": None})
    contacts = people.session.store.contacts
    people.session.run(contacts.update(1, own.id, write, START_US + 1, source="api"))
    people.session.run(merges.undo(1, merge.id, START_US + 2, actor="tester"))


@pytest.mark.parametrize("is_processed", [False, True])
@pytest.mark.parametrize("is_deleted", [False, True])
def test_events_of_the_survivor_of_an_undone_merge_are_masked(
    people: People, *, is_processed: bool, is_deleted: bool
) -> None:
    """System events about the survivor while it had the person's data."""
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
    """`changes` in the events about a contact, in order."""
    rows = people.session.place.run_sql(
        "SELECT payload FROM events WHERE contact_id = ? AND event = ? ORDER BY sequence",
        contact.id,
        "sendrealm.contact.updated",
    )
    return [json.loads(row[0])["changes"] for row in rows]


def test_events_of_a_chain_of_undone_merges_are_masked(people: People) -> None:
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


def test_address_that_moved_to_another_person(people: People) -> None:
    """Events about the former owner lose it; the current owner is another person."""
    before = people.create(external_id="before", email=EMAIL)
    contacts = people.session.store.contacts
    cleared = ContactWrite(email=None)
    people.session.run(contacts.update(1, before.id, cleared, START_US, source="api"))
    person = people.create(external_id=X, email=EMAIL)
    people.process()

    people.erase(person.id)

    assert tables_with(people.session.place, CANARY) == []
    assert people.get(before.id) is not None


def test_second_erasure_removes_what_was_stored_since(people: People) -> None:
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
    # Nothing was stored since: the newest receipt, by either id.
    people.process()
    assert people.begin(own.id) == second
    assert people.begin(other.id) == second


def test_repeated_request_extends_a_running_erasure(people: People) -> None:
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


def test_newer_events_of_a_former_contact_are_removed(people: People) -> None:
    """They name it only by its id, and are newer than all others of the person."""
    people.accept(external_id=None, email=EMAIL)
    people.process()
    ((former_id,),) = people.session.place.run_sql("SELECT id FROM contacts")
    contacts = people.session.store.contacts
    people.session.run(contacts.delete(1, former_id, START_US, source="api"))
    person = people.create(email=EMAIL)
    people.accept(external_id=None, contact_id=former_id, payload=f'{{"secret":"{CANARY}"}}')
    people.accept(external_id="other")

    people.erase(person.id)

    assert people.names() == ["other"]
    assert tables_with(people.session.place, CANARY) == []


def test_erasing_a_recreated_person_includes_the_former_contact(people: People) -> None:
    """Created, changed, deleted, created again by an event: system events name the first one."""
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


def test_paths_of_only_the_person_leave_the_catalog(people: People) -> None:
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


def test_masked_mentions_are_in_no_table_and_no_file(people: People) -> None:
    """Neither in payloads and keys of others, nor in details about their events."""
    person = people.create(external_id=X, email=EMAIL)
    people.create(external_id="friend")
    event = people.accept(
        external_id="friend",
        key=f"invite-{EMAIL}",
        payload=f'{{"to":["{EMAIL.upper()}"],"see":"/{X}/","n":1.50}}',
    )
    other = people.accept(external_id="friend", payload='{"to":"nobody"}', key="k")
    people.process()
    place = people.session.place
    about = {"lane": event.lane, "sequence": event.sequence, "project_id": 1}
    failed = {"at_us": 0, "duration_us": 0, "cause": "c", "error": CANARY}
    insert(place, "processing_attempts", **about, number=1, **failed)
    delivery = place.run_sql("SELECT number FROM deliveries WHERE sequence = ?", event.sequence)
    attempt = {"lane": event.lane, "delivery_number": delivery[0][0], "number": 1}
    insert(place, "delivery_attempts", **attempt, excerpt=CANARY, **failed)
    place.run_sql("UPDATE deliveries SET last_error = ? WHERE sequence = ?", CANARY, event.sequence)

    erasures = people.session.store.erasures
    begun = people.session.run(
        erasures.begin(1, person.id, LATER_US, actor="tester", mask_mentions=True)
    )
    assert begun is not None
    receipt = people.finish(begun)

    mentions = receipt.report.mentions
    assert (mentions.events, mentions.masked) == (1, 1)
    assert mentions.listed[0].places == ("idempotency_key", "payload.to[0]", "payload.see")
    for word in (CANARY, CANARY.upper()):
        assert tables_with(place, word) == []
        if isinstance(place, SqlitePlace):
            assert files_with(place.path.parent, word) == []
    rows = place.run_sql(
        "SELECT payload, idempotency_key FROM events WHERE external_id = ? ORDER BY sequence",
        "friend",
    )
    assert rows == [
        ('{"to":["[erased]"],"see":"/[erased]/","n":1.50}', "invite-[erased]"),
        (other.payload, "k"),
    ]
    (repeat,) = people.session.accept(new_event(external_id="friend", key=f"invite-{EMAIL}"))
    assert isinstance(repeat, FirstCopy)
    assert repeat.id == event.id


def test_search_runs_in_slices(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mention_search, "EVENTS_MAX", 3)
    person = people.create(external_id=X)
    for n in range(8):
        people.accept(external_id="friend", payload=f'{{"n":{n},"to":"{X}"}}')
    people.process()
    begun = people.begin(person.id)
    assert begun is not None
    # Accepted since: about an unknown person, who may have the same name. By the clock of the
    # database, whatever the test's clock.
    later = (now_us() // 1000 + 1_000_000) << 21
    people.accept(external_id="friend", payload=f'{{"to":"{X}"}}', sequence=later)
    searched = []
    while people.advance(begun):
        found = people.session.run(people.session.store.erasures.get(1, begun.id))
        assert found is not None
        searched.append(found.report.mentions.searched)
    found = people.session.run(people.session.store.erasures.get(1, begun.id))
    assert found is not None
    assert found.report.mentions.events == 8
    assert len(set(searched)) > 2


def test_masking_can_be_requested_while_the_erasure_runs(people: People) -> None:
    person = people.create(external_id=X)
    people.accept(external_id="friend", payload=f'{{"to":"{X}"}}')
    people.process()
    begun = people.begin(person.id)
    assert begun is not None
    erasures = people.session.store.erasures
    again = people.session.run(
        erasures.begin(1, person.id, LATER_US, actor="tester", mask_mentions=True)
    )
    assert again is not None
    assert again.id == begun.id
    receipt = people.finish(begun)
    assert (receipt.report.mentions.events, receipt.report.mentions.masked) == (1, 1)
    assert tables_with(people.session.place, X) == []
