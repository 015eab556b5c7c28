"""The export has what an erasure would remove, and nothing of other people."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.domain.contacts.contact import ContactWrite
from headrace.pipeline.contacts.person_document import person_document
from headrace.store.contract.erasures import Erasure
from tests.support.events import START_US
from tests.support.everywhere import tables_with
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
from tests.support.session import StoreSession

#: Places of a receipt that only concern the state of an event.
INTERNAL = {"event_queue", "retries", "event_states", "keys"}


@pytest.fixture
def people(session: StoreSession) -> People:
    return People(session)


def export(people: People, contact_id: str, *, mentions: bool = True) -> dict[str, Any] | None:
    exports = people.session.store.person_exports

    async def read() -> bytes | None:
        facts = await exports.find(1, contact_id)
        if facts is None:
            return None
        pieces = [piece async for piece in person_document(exports, facts, mentions=mentions)]
        # Bounded: no piece has more than one event.
        assert len(pieces) >= 3
        return b"".join(pieces)

    text = people.session.run(read())
    if text is None:
        return None
    data: dict[str, Any] = json.loads(text)["data"]
    return data


def exported(people: People, contact_id: str) -> dict[str, Any]:
    found = export(people, contact_id)
    assert found is not None
    return found


def dry_run(people: People, contact_id: str) -> Erasure:
    erasures = people.session.store.erasures
    begun = people.session.run(
        erasures.begin(1, contact_id, LATER_US, actor="tester", dry_run=True)
    )
    assert begun is not None
    while people.advance(begun):
        pass
    found = people.session.run(erasures.get(1, begun.id))
    assert found is not None
    return found


def life(people: People) -> str:
    """Create rows about a person in every place; returns the id of the contact."""
    session = people.session
    people.planner = Cataloguing(people.planner)
    contact = people.create(
        external_id=X, email=EMAIL, email_original=EMAIL.upper(), properties={"name": CANARY}
    )
    twin = people.create(external_id=f"{CANARY}-2", properties={"old": CANARY})
    merges = session.store.merges
    session.run(merges.merge(1, contact.id, twin.id, START_US, actor="tester"))
    other = people.create(external_id="other", email="other@b.example")
    undone = session.run(merges.merge(1, other.id, contact.id, START_US, actor="tester"))
    session.run(merges.undo(1, undone.id, START_US, actor="tester"))
    event = people.accept(
        external_id=X, key=f"{CANARY}-key", payload=f'{{"secret":"{CANARY}","kanari":1.50}}'
    )
    people.accept(external_id=f"{CANARY}-2", payload=f'{{"secret":"{CANARY}"}}')
    people.accept(external_id=None, email=EMAIL, email_original=EMAIL.upper())
    people.accept(external_id=None, contact_id=twin.id, payload=f'{{"secret":"{EMAIL}"}}')
    people.accept(external_id="other", email=EMAIL)
    people.accept(external_id="other", payload=f'{{"friend":"{EMAIL}"}}')
    people.accept(external_id="other", payload='{"theirs":"private"}')
    people.process()
    fill_every_table(people, contact, event)
    write = ContactWrite(properties={"city": "Rome"})
    session.run(session.store.contacts.update(1, contact.id, write, START_US, source="api"))
    people.process()
    return contact.id


def test_export_has_what_an_erasure_removes(people: People) -> None:
    contact_id = life(people)
    place = people.session.place
    before = place.run_sql("SELECT count(*) FROM events")

    found = exported(people, contact_id)
    preview = dry_run(people, contact_id)

    assert place.run_sql("SELECT count(*) FROM events") == before
    receipt = people.erase(contact_id)
    removed = {name: n for name, n in receipt.counts.items() if name not in INTERNAL}
    changed = removed.pop("system_events")
    assert found["counts"] == removed
    assert {**preview.counts, "system_events": changed} == {**removed, "system_events": changed}
    assert preview.report.mentions.listed == receipt.report.mentions.listed
    assert receipt.report.mentions.events == 1
    by_us = [each for each in found["mentions"] if each["event"].startswith("sendrealm.")]
    assert len(found["mentions"]) - len(by_us) == receipt.report.mentions.events
    assert len(by_us) == changed
    # Each event once, in order of receipt, and as many of each place as counted.
    assert len(found["events"]) == removed["events"]
    received = [event["received_at"] for event in found["events"]]
    assert received == sorted(received)
    for name, places in (
        ("duplicate_requests", "repeats"),
        ("attempts", "processing_attempts"),
        ("conflicts", "conflicts"),
        ("dead_letters", "dead_letters"),
        ("deliveries", "deliveries"),
    ):
        assert sum(len(event[places]) for event in found["events"]) == removed.get(name, 0), name
    attempts = [
        d for event in found["events"] for each in event["deliveries"] for d in each["attempts"]
    ]
    assert len(attempts) == removed["delivery_attempts"]
    assert attempts[0]["excerpt"] == CANARY
    assert len(found["rejections"]) == removed["rejections"]
    assert len(found["audit"]) == removed["audit"]
    messages = found["messages"]
    assert len(messages) == removed["messages"] == 2
    assert len(found["suppressions"]) == removed["suppressions"] == 1
    for name, place_of in (
        ("message_attempts", "attempts"),
        ("message_engagement", "engagement"),
        ("message_hits", "hits"),
        ("captured_mails", "captured"),
        ("mail_notifications", "notifications"),
    ):
        assert sum(len(one[place_of]) for one in messages) == removed[name] == 1, name
    runs = found["automation_runs"]
    assert len(runs) == removed["automation_runs"] == 1
    assert sum(len(run["timeline"]) for run in runs) == removed["automation_notes"] == 1
    assert runs[0]["trigger_event"]["payload"] == {"secret": CANARY}
    for name in ("rejected_starts", "automation_entries"):
        assert len(found[name]) == removed[name] == 1, name
    (device,) = found["devices"]
    assert removed["push_devices"] == 1
    assert len(device["kept_events"]) == removed["push_device_events"] == 1
    assert len(device["notifications"]) == removed["push_notifications"] == 2
    for name, place_of in (("push_attempts", "attempts"), ("push_engagement", "reports")):
        assert sum(len(one[place_of]) for one in device["notifications"]) == removed[name] == 2
    # The other one also belongs to another person.
    assert removed["emails"] == 1
    # The one event of another person, without a request to mask it.
    assert tables_with(place, CANARY) == ["events"]


def test_document_has_the_identifiers_of_the_person(people: People) -> None:
    contact_id = life(people)
    text = json.dumps(exported(people, contact_id))
    found = json.loads(text)

    assert found["contact"]["external_id"] == X
    assert found["contact"]["email"] == EMAIL.upper()
    assert found["contact"]["properties"] == {"name": CANARY, "old": CANARY, "city": "Rome"}
    assert len(found["contact_ids"]) == 2
    assert {"kind": "external_id", "value": f"{CANARY}-2"} in found["identifiers"]
    assert [topic["topic_name"] for topic in found["topics"]] == ["News"]
    assert found["opted_out_at"] is not None
    assert [audience["audience_name"] for audience in found["audiences"]] == ["VIP"]
    assert len(found["merges"]) == 2
    payloads = [event["payload"] for event in found["events"]]
    assert {"secret": CANARY, "kanari": 1.5} in payloads
    assert any(event["source"] == "system" for event in found["events"])
    (mail,) = [one["content"] for one in found["messages"] if one["content"]["attachments"]]
    assert (mail["text"], mail["attachments"][0]["data"]) == (CANARY, "aGFsbG8=")
    # Events of others only where they name the person.
    assert "private" not in text
    assert '"friend"' not in text
    assert "else@b.example" not in text
    assert ["payload.friend"] in [each["places"] for each in found["mentions"]]


def test_mentions_can_be_left_out(people: People) -> None:
    contact_id = people.create(external_id=X).id
    found = export(people, contact_id, mentions=False)
    assert found is not None
    assert "mentions" not in found
    assert found["counts"] == {"contacts": 1, "events": 1}


def test_a_deleted_person_is_exported_as_long_as_something_is_kept(people: People) -> None:
    contact = people.create(external_id=X)
    people.accept(external_id=X, payload=f'{{"pet":"{CANARY}"}}')
    people.process()
    people.session.run(people.session.store.contacts.delete(1, contact.id, LATER_US, source="api"))
    people.process()

    found = exported(people, contact.id)

    assert found["contact"] is None
    assert {"pet": CANARY} in [event["payload"] for event in found["events"]]
    assert found["identifiers"] == [{"kind": "external_id", "value": X, "former": True}]
    assert export(people, ABSENT) is None
    exports = people.session.store.person_exports
    assert people.session.run(exports.find(2, contact.id)) is None
