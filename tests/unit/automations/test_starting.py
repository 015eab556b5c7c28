"""Which events start runs, and why the others do not."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.domain.automations.running.reasons import RunReason
from headrace.domain.automations.running.starting import (
    AutomationStatus,
    Entry,
    StartContext,
    decide_start,
    entry_key,
)
from headrace.domain.events.event import Source
from headrace.domain.json_text import Number
from tests.support.automation_runs import at, event, version, view
from tests.support.definitions import chain, step


def trigger(**members: Any) -> Any:
    value = chain(step("a", "delay"), trigger={"event_name": "checkout.started"} | members)
    return version(value).definition.trigger


def entry(seconds: float, *, has_open_run: bool = False) -> Entry:
    return Entry(last_start_us=at(seconds), has_open_run=has_open_run)


BEGINS = event("checkout.started", 100, {"amount": Number("400")})


@pytest.mark.parametrize(
    ("members", "context", "reason"),
    [
        ({}, StartContext(), "started"),
        ({}, StartContext(status=AutomationStatus.PAUSED), "paused"),
        ({}, StartContext(status=AutomationStatus.DRAFT), "not_active"),
        ({}, StartContext(status=AutomationStatus.ARCHIVED), "not_active"),
        ({}, StartContext(is_erasing=True), "erased"),
        ({}, StartContext(entry=entry(99, has_open_run=True)), "started"),
        (
            {"reentry": {"mode": "one_active"}},
            StartContext(entry=entry(99, has_open_run=True)),
            "reentry_active",
        ),
        ({"reentry": {"mode": "one_active"}}, StartContext(entry=entry(99)), "started"),
        ({"reentry": {"mode": "once"}}, StartContext(entry=entry(-9999)), "reentry_once"),
        ({"reentry": {"mode": "once"}}, StartContext(), "started"),
        (
            {"reentry": {"mode": "once_per", "seconds": 50}},
            StartContext(entry=entry(50.001)),
            "reentry_cooldown",
        ),
        (
            {"reentry": {"mode": "once_per", "seconds": 50}},
            StartContext(entry=entry(50)),
            "started",
        ),
        ({}, StartContext(open_runs_of_contact=100), "too_many_open"),
        ({}, StartContext(may_start=False), "start_limit"),
        (
            {"filters": {"amount_gte": 1000}},
            StartContext(status=AutomationStatus.PAUSED),
            "filter_not_met",
        ),
    ],
)
def test_start_or_reason(members: dict[str, Any], context: StartContext, reason: str) -> None:
    decision = decide_start(trigger(**members), BEGINS, view(), context)
    assert decision.note.reason == reason
    assert decision.started is (reason == "started")
    assert decision.note.sentence.endswith(".")


def test_unmet_filter_is_reported_with_evidence() -> None:
    note = decide_start(trigger(filters={"amount_gte": 1000}), BEGINS, view(), StartContext()).note
    assert note.evidence is not None
    assert (note.evidence.needs, note.evidence.found) == ("1000", "400")
    assert note.sentence == (
        "The event did not match the filters of the trigger: "
        "amount gte 1000 does not hold, the field is a number."
    )


def test_an_event_without_contact_meets_filters_but_begins_nothing() -> None:
    decision = decide_start(trigger(), BEGINS, None, StartContext())
    assert decision.note.reason is RunReason.NO_CONTACT
    asks = trigger(filters={"contact.email_exists": True})
    assert decide_start(asks, BEGINS, None, StartContext()).note.reason is RunReason.FILTER_NOT_MET


@pytest.mark.parametrize(("age", "reason"), [(60, "started"), (60.001, "too_old")])
def test_age_is_that_at_receipt(age: float, reason: str) -> None:
    old = event("checkout.started", 100, occurred_us=at(100 - age))
    decision = decide_start(trigger(max_age_seconds=60), old, view(), StartContext())
    assert decision.note.reason == reason


def test_imported_events_begin_runs_only_where_that_is_allowed() -> None:
    imported = event("checkout.started", 100, source=Source.IMPORT)
    for allowed, reason in ((False, RunReason.IMPORTED), (True, RunReason.STARTED)):
        of = trigger(allow_imported=allowed)
        assert decide_start(of, imported, view(), StartContext()).note.reason is reason


def test_a_chain_of_automations_ends() -> None:
    for depth, reason in ((5, RunReason.STARTED), (6, RunReason.LOOP)):
        caused = event("checkout.started", 100, depth=depth)
        assert decide_start(trigger(), caused, view(), StartContext()).note.reason is reason


def test_re_entry_counts_by_the_value_of_the_key() -> None:
    of = trigger(reentry={"mode": "once", "key": "payload.id"})

    def key(value: Any) -> str:
        return entry_key(of, event("checkout.started", 0, {"id": value}))

    assert key(Number("1")) == key(Number("1.00")) == key(Number("10e-1"))
    different: list[Any] = [Number("1"), "1", True, Number("-1"), Number("10")]
    assert len({key(each) for each in different}) == 5
    assert key(None).startswith("e:")
    assert key([1]) == key({}) == key(None)
    assert key("x" * 10_000) != key("x" * 9_999 + "y")
    assert len(key("x" * 10_000)) < 64
    assert len(key(Number("1e999999999"))) < 64
    assert entry_key(trigger(), BEGINS) == ""
