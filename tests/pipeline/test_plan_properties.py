"""Properties written by the events of a batch, and their trace entries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from headrace.domain.access.policies import Policies
from headrace.domain.contacts.property_times import Stamp, Values
from headrace.domain.events.event import Source
from headrace.pipeline.processing.plan import Rules
from headrace.pipeline.processing.resolution_note import (
    NAMES_NOTED_MAX,
    ResolutionNote,
    plain_text,
    read_note,
)
from headrace.store.contract.processing import BatchPlan, Claimed, ContactIds
from tests.pipeline.test_plan import PERSON, claimed, plan
from tests.support.events import START_US


def saying(payload: dict[str, Any], at: int = 0, **said: Any) -> Claimed:
    """An event at some time, by `external_id` x unless given."""
    event = claimed(**{"external_id": "x", **said})
    return replace(event, payload=json.dumps(payload), occurred_us=START_US + at)


def known(values: Values | None = None, **fields: Any) -> ContactIds:
    return ContactIds(PERSON, "x", None, values=values or Values(), **fields)


def notes(made: BatchPlan) -> list[dict[str, Any]]:
    """Notes of the events, as in an export."""
    found = [read_note(done.resolution, done.contact_id) for done in made.done]
    return [json.loads(msgspec.json.encode(note)) for note in found]


def told(made: BatchPlan) -> list[dict[str, Any]]:
    return [json.loads(event.payload) for event in made.system_events]


def written(made: BatchPlan) -> dict[str, Any]:
    return dict(made.contacts_written[PERSON].values.properties)


def test_an_event_sets_properties() -> None:
    made = plan(saying({"$set": {"plan": "pro", "seats": 3}}), known=[known()])

    assert written(made) == {"plan": "pro", "seats": 3}
    (body,) = told(made)
    assert body["changes"] == {
        "properties.plan": {"from": None, "to": "pro"},
        "properties.seats": {"from": None, "to": 3},
    }
    assert notes(made)[0]["written"] == ["plan", "seats"]


def test_filling_and_setting_are_one_change() -> None:
    made = plan(saying({"$set": {"plan": "pro"}}, email="a@b.example"), known=[known()])
    (body,) = told(made)
    assert body["changes"].keys() == {"email", "properties.plan"}


def test_an_older_event_leaves_a_newer_value() -> None:
    held = Values({"plan": "pro"}, {"plan": Stamp(START_US + 9)})

    made = plan(saying({"$set": {"plan": "free"}}, at=-5), known=[known(held)])

    assert (made.contacts_written, told(made)) == ({}, [])
    assert notes(made)[0]["kept"] == [{"field": "properties.plan", "since_us": START_US + 9}]


def test_setting_once_never_overrules_a_set() -> None:
    held = Values({"plan": "pro"}, {"plan": Stamp(START_US - 9)})
    made = plan(saying({"$set_once": {"plan": "free", "first": 1}}), known=[known(held)])
    assert written(made) == {"plan": "pro", "first": 1}
    (kept,) = notes(made)[0]["kept"]
    assert (kept["field"], kept["once"]) == ("properties.plan", True)


def test_the_same_value_again_is_no_change_but_moves_its_time() -> None:
    held = Values({"plan": "pro"}, {"plan": Stamp(START_US - 9)})
    made = plan(saying({"$set": {"plan": "pro"}}), known=[known(held)])
    kept = made.contacts_written[PERSON]
    assert (kept.changed, told(made)) == (False, [])
    assert kept.values.times["plan"].at_us == START_US


def test_a_time_ahead_of_receipt_counts_as_receipt() -> None:
    made = plan(saying({"$set": {"plan": "pro"}}, at=10**9), known=[known()])
    assert made.contacts_written[PERSON].values.times["plan"].at_us == START_US


def test_null_removes_and_is_remembered() -> None:
    held = Values({"plan": "pro"}, {"plan": Stamp(START_US - 9)})
    made = plan(
        saying({"$set": {"plan": None}}),
        saying({"$set": {"plan": "old"}}, at=-5),
        known=[known(held)],
    )
    assert written(made) == {}
    assert notes(made)[1]["kept"][0]["field"] == "properties.plan"


def test_a_created_contact_has_its_properties_at_once() -> None:
    made = plan(saying({"$set": {"plan": "pro"}}))
    (created,) = made.contacts_created.values()
    assert created.values is not None
    assert created.values.properties == {"plan": "pro"}
    assert [event.event for event in made.system_events] == ["sendrealm.contact.created"]


def test_later_events_of_a_batch_build_on_earlier_ones() -> None:
    made = plan(
        saying({"$set": {"a": 1}}),
        saying({"$set": {"b": 2}}),
        saying({"$set": {"b": 3}}, at=-1),
    )
    values = made.contacts_created["id1"].values
    assert values is not None
    assert values.properties == {"a": 1, "b": 2}
    assert len(made.system_events) == 2


def test_contact_may_follow_from_an_earlier_event() -> None:
    """The first fills the address by which the second finds its contact."""
    made = plan(
        saying({}, email="a@b.example"),
        saying({"$set": {"a": 1}}, external_id=None, email="a@b.example"),
        known=[known()],
    )
    assert written(made) == {"a": 1}


def test_what_cannot_be_a_property_is_left_out_with_a_reason() -> None:
    made = plan(
        saying({"$set": {"ok": 1, "bad": {"a": 1}, "": 2}, "$set_once": [1], "x": 1}),
        known=[known()],
    )
    assert written(made) == {"ok": 1}
    ignored = dict(notes(made)[0]["ignored"])
    assert ignored.keys() == {"properties.bad", "properties.", "$set_once"}


def test_null_in_set_once_is_ignored() -> None:
    made = plan(saying({"$set_once": {"a": None}}), known=[known()])
    assert made.contacts_written == {}
    assert notes(made)[0]["ignored"][0][0] == "properties.a"


def test_excess_properties_are_dropped_one_by_one() -> None:
    held = Values({"big": "x" * 16_000}, {"big": Stamp(START_US - 9)})
    made = plan(saying({"$set": {"huge": "y" * 1_000, "small": 1}}), known=[known(held)])
    assert written(made).keys() == {"big", "small"}
    assert [field for field, _ in notes(made)[0]["ignored"]] == ["huge"]


def test_more_than_two_hundred_at_once_are_too_many() -> None:
    made = plan(saying({"$set": {f"p{n}": n for n in range(201)}}), known=[known()])
    assert made.contacts_written == {}
    assert notes(made)[0]["ignored"][0][0] == "$set"


def test_note_is_bounded() -> None:
    made = plan(saying({"$set": {f"p{n}": n for n in range(100)}}), known=[known()])
    (note,) = notes(made)
    assert (len(note["written"]), note["unnoted"]) == (NAMES_NOTED_MAX, 100 - NAMES_NOTED_MAX)


def test_set_elsewhere_in_the_payload_writes_nothing() -> None:
    made = plan(saying({"note": 'he said "$set" it', "deep": {"$set": {"a": 1}}}), known=[known()])
    assert made.contacts_written == {}
    assert notes(made) == [{"reason": "matched", "by": "external_id", "contact_id": PERSON}]


def test_the_systems_own_events_write_nothing() -> None:
    event = replace(saying({"$set": {"a": 1}}), source=Source.SYSTEM)
    assert plan(event, known=[known()]).contacts_written == {}


def test_an_event_without_a_contact_writes_nothing() -> None:
    event = saying({"$set": {"a": 1}}, contact_id=PERSON, external_id=None)
    made = plan(event)
    assert made.contacts_written == {}


# --- identifiers ---


def resolved(*batch: Claimed, contacts: Sequence[ContactIds] = ()) -> list[dict[str, Any]]:
    return notes(plan(*batch, known=contacts))


def test_a_placeholder_creates_no_contact() -> None:
    made = plan(claimed(external_id="null"), claimed(email="info@b.example"))
    assert made.contacts_created == {}
    assert [(note["reason"], note["placeholders"]) for note in notes(made)] == [
        ("placeholder_identifier", ["external_id"]),
        ("placeholder_identifier", ["email"]),
    ]


def test_after_a_placeholder_the_next_identifier_decides() -> None:
    made = plan(claimed(external_id="anonymous", email="a@b.example"))
    (created,) = made.contacts_created.values()
    assert (created.external_id, created.email) == (None, "a@b.example")
    assert notes(made)[0]["by"] == "email"


def test_a_placeholder_fills_nothing_and_is_no_conflict() -> None:
    held = [known(), ContactIds("other", None, "info@b.example")]
    made = plan(claimed(external_id="x", email="info@b.example"), known=held)
    assert (made.contacts_changed, made.conflicts) == ({}, [])


def test_a_project_decides_what_a_placeholder_is() -> None:
    rules = Rules({1: Policies(placeholder_identifiers="mine, !null")}, ())
    made = plan(claimed(external_id="null"), claimed(external_id="mine"), rules=rules)
    assert [created.external_id for created in made.contacts_created.values()] == ["null"]


def test_an_identifier_that_was_cleared_later_is_not_filled() -> None:
    late = replace(claimed(external_id="x", email="a@b.example"), occurred_us=START_US - 5)
    cleared = known(email_us=START_US - 1)
    made = plan(late, known=[cleared])
    assert made.contacts_changed == {}
    assert notes(made)[0]["kept"] == [{"field": "email", "since_us": START_US - 1}]

    after = plan(claimed(external_id="x", email="a@b.example"), known=[cleared])
    assert [each.after.email for each in after.contacts_changed.values()] == ["a@b.example"]


def test_both_forms_of_a_note_read_the_same() -> None:
    for contact_id in (None, PERSON):
        note = ResolutionNote("matched", "email", contact_id)
        assert read_note(plain_text("matched", "email"), contact_id) == note
        assert read_note(note.text(), contact_id) == note
    written = ResolutionNote("matched", "email", PERSON, ignored=[("two words", "a reason")])
    assert read_note(written.text(), PERSON) == written
    assert read_note('{"of tomorrow": 1}', None) is None
