"""What runs do, one rule at a time. `test_against_naive` tests the rules together."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from headrace.domain.automations.running.advance import WrongVersionError, advance, begin
from headrace.domain.automations.running.effects import (
    CancelMessage,
    ChangeMembership,
    EmitEvent,
    SendMessage,
    SetSubscription,
    UpdateContact,
)
from headrace.domain.automations.running.inputs import (
    Cancel,
    ContactChanged,
    Continue,
    EventArrived,
    LookedBack,
    MessageDeferred,
    MessageFinished,
    Retry,
    TimerDue,
)
from headrace.domain.automations.running.reasons import _SENTENCES, RunReason
from headrace.domain.automations.running.runs import stable_id
from headrace.domain.automations.running.states import (
    FoundBy,
    Outcome,
    RunStatus,
    StepStatus,
    WaitStatus,
)
from headrace.domain.automations.running.version import Version
from headrace.domain.automations.running.view import RunPolicies, Subscription, needs
from headrace.domain.json_text import Number
from tests.support.automation_runs import (
    AUTOMATION,
    RUN,
    World,
    at,
    contact,
    event,
    version,
    view,
)
from tests.support.definitions import AN_ID, CONFIGS, chain, step

BEGINS = event("checkout.started", 0, {"checkout_id": "c1", "amount": Number("12.50")})


def test_ids_are_uuids_of_their_parts() -> None:
    assert stable_id("r1") == "095310f0-f7d6-584d-8a80-6ee56bf37447"
    assert uuid.UUID(stable_id("r1", "wait", "é")).version == 5
    assert stable_id("r1", "wait", "é") == "d2f38c06-dacc-5d32-b537-f53ad5dd09d0"


def wait(name: str = "order.completed", **config: Any) -> dict[str, Any]:
    return step("wait", "wait_for_event", **{"event_name": name, "timeout_seconds": 60} | config)


def delay(key: str = "pause", seconds: int = 10) -> dict[str, Any]:
    return step(key, "delay", seconds=seconds)


def push(key: str = "push", **config: Any) -> dict[str, Any]:
    return step(key, "send_push_template", **CONFIGS["send_push_template"] | config)


def queued(*steps: dict[str, Any], **others: Any) -> World:
    """A run whose messages stay queued until the test completes them."""
    world = World(version(chain(*steps, **others)), results=lambda _: None)
    world.begin(BEGINS)
    return world


def begun(*steps: dict[str, Any], **others: Any) -> World:
    world = World(version(chain(*steps, **others)))
    world.begin(BEGINS)
    return world


def test_a_delay_ends_at_its_time_and_the_run_with_its_branch() -> None:
    world = begun(delay())
    standing = world.state.open_wait
    assert standing is not None
    assert standing.due_us == at(10)
    assert world.fire()
    assert world.state.status is RunStatus.COMPLETED
    assert (world.state.reason, world.state.outcome) == (RunReason.END_OF_BRANCH, Outcome.CLEAN)
    assert world.reasons() == ["started", "delay_begun", "delay_elapsed", "end_of_branch"]


def test_a_timer_that_is_not_due_or_of_another_wait_changes_nothing() -> None:
    world = begun(delay())
    before = world.state
    standing = before.open_wait
    assert standing is not None
    assert world.take(TimerDue(wait_id=standing.id)) == before
    world.now_us = at(10)
    assert world.take(TimerDue(wait_id="another")) == before


def test_an_event_resumes_once_and_is_kept_on_the_step() -> None:
    world = begun(wait(), delay(), branches=("next", "received"))
    paid = event("order.completed", 5)
    world.process(paid)
    record = world.state.record("wait")
    assert record is not None
    assert (record.branch, record.event) == ("received", paid)
    closed = world.state.waits[0]
    assert (closed.status, closed.found_by) == (WaitStatus.RECEIVED, FoundBy.ARRIVAL)
    before = world.state
    assert world.take(EventArrived(paid)) == before
    assert world.take(TimerDue(wait_id=closed.id)) == before


def test_an_event_received_before_the_wait_is_found_by_look_back() -> None:
    world = begun(delay(), wait(), branches=("next", "next"))
    world.process(event("order.completed", 5))
    world.fire()
    assert world.state.status is RunStatus.COMPLETED
    assert world.state.waits[1].found_by is FoundBy.LOOK_BACK
    assert world.state.at_us == at(10)


@pytest.mark.parametrize(
    ("look_back", "branch"),
    [("run", "received"), ("step", "timed_out"), (4, "timed_out"), (5, "received")],
)
def test_the_look_back_decides_how_early_an_event_may_be(look_back: Any, branch: str) -> None:
    world = begun(delay(), wait(look_back=look_back))
    world.process(event("order.completed", 5))
    world.fire()
    if world.state.is_open:
        world.fire()
    assert world.path()[-1] == ("wait", branch)


def test_a_look_back_in_seconds_reaches_before_the_trigger_but_not_to_it() -> None:
    world = World(version(chain(wait("checkout.started", look_back=60))))
    world.processed.append(event("checkout.started", -30))
    world.begin(BEGINS)
    assert world.state.is_open
    other = World(version(chain(wait(look_back=60))))
    other.processed.append(event("order.completed", -30))
    other.begin(BEGINS)
    assert other.path() == [("wait", "received")]


def test_an_event_of_the_same_millisecond_but_before_the_one_that_resumed_is_no_later_one() -> None:
    second = step("second", "wait_for_event", event_name="b", timeout_seconds=9, look_back="step")
    world = begun(wait("a"), second, branches=("next", "received"))
    world.process(event("b", 5, number=0))
    world.process(event("a", 5, number=1))
    assert world.state.at_step == "second"
    assert world.state.is_open


def test_an_event_is_used_once_in_a_run() -> None:
    second = step("second", "wait_for_event", event_name="a", timeout_seconds=9)
    world = begun(wait("a"), second, branches=("next", "received"))
    world.process(event("a", 5))
    assert world.state.at_step == "second"
    world.process(event("a", 6))
    assert world.state.status is RunStatus.COMPLETED


def test_correlation_is_with_the_values_of_when_the_wait_began() -> None:
    same = {
        "payload.checkout_id": "trigger.payload.checkout_id",
        "payload.sum": "trigger.payload.amount",
    }
    world = begun(wait(correlate=same))
    for payload, open_still in (
        ({"checkout_id": "c2", "sum": Number("12.5")}, True),
        ({"checkout_id": "c1", "sum": "12.5"}, True),
        ({"checkout_id": "c1"}, True),
        ({"checkout_id": "c1", "sum": Number("12.5")}, False),
    ):
        world.process(event("order.completed", 5, payload, number=len(world.processed)))
        assert world.state.is_open is open_still
    assert "a value to match differs" in " ".join(n.sentence for n in world.notes)


def test_missing_correlation_is_reported_at_once_and_times_out() -> None:
    world = begun(wait(correlate={"payload.x": "trigger.payload.x"}))
    assert "correlation_missing" in world.reasons()
    world.process(event("order.completed", 5))
    assert world.state.is_open
    world.fire()
    assert world.path() == [("wait", "timed_out")]


def test_long_and_unusual_values_correlate_exactly() -> None:
    for value, other in (
        ("x" * 5000, "x" * 4999 + "y"),
        (Number("1e999"), Number("1e998")),
        (True, "true"),
    ):
        begins = event("checkout.started", 0, {"id": value})
        world = World(version(chain(wait(correlate={"payload.id": "trigger.payload.id"}))))
        world.begin(begins)
        world.process(event("order.completed", 1, {"id": other}))
        assert world.state.is_open
        world.process(event("order.completed", 2, {"id": value}))
        assert not world.state.is_open


def test_the_first_of_several_events_decides_the_branch() -> None:
    several = {
        "events": [
            {"event_name": "paid", "branch": "won"},
            {"event_name": "cancelled", "filters": {"by": "customer"}, "branch": "lost"},
        ],
        "timeout_seconds": 60,
    }
    world = begun(step("wait", "wait_for_event", **several))
    world.process(event("cancelled", 1, {"by": "clock"}))
    world.process(event("cancelled", 2, {"by": "customer"}))
    assert world.path() == [("wait", "lost")]


def test_the_deadline_is_judged_by_receipt() -> None:
    world = begun(wait())
    in_time = event("order.completed", 59.999)
    assert not world.fire(unprocessed=[in_time])
    assert world.reasons()[-1] == "timer_held"
    world.process(in_time)
    assert world.path() == [("wait", "received")]


def test_an_event_at_the_deadline_is_late_and_listed_up_to_five() -> None:
    world = begun(wait(), delay("after", 1000), branches=("next", "timed_out"))
    world.process(event("order.completed", 60))
    assert world.state.open_wait is not None
    assert len(world.state.open_wait.late_events) == 1
    world.fire()
    for number in range(8):
        world.process(event("order.completed", 100 + number))
    assert len(world.state.waits[0].late_events) == 5
    assert world.path()[0] == ("wait", "timed_out")


def test_a_timer_is_held_for_a_while_only() -> None:
    world = begun(wait())
    missing = event("order.completed", 30)
    assert not world.fire(unprocessed=[missing])
    world.now_us = at(60 + 899)
    assert not world.fire(unprocessed=[missing])
    world.now_us = at(60 + 900)
    assert world.fire(unprocessed=[missing])
    assert world.path() == [("wait", "timed_out")]
    assert "taken all the same" in " ".join(note.sentence for note in world.notes)


def test_a_delay_without_exit_rules_is_not_held() -> None:
    world = begun(delay())
    assert world.fire(unprocessed=[event("other", 1)])


EXIT = [{"event_name": "order.completed"}]


def test_a_delay_is_held_for_events_that_may_end_the_run() -> None:
    world = begun(delay(), exit_on=EXIT)
    before = event("order.completed", 9)
    assert not world.fire(unprocessed=[before])
    world.process(before)
    assert world.state.status is RunStatus.EXITED


def test_an_exit_rule_ends_the_run_at_any_step() -> None:
    world = begun(delay(), delay("more"), exit_on=EXIT)
    world.process(event("order.completed", 5))
    run = world.state
    assert (run.status, run.reason, run.at_step) == (RunStatus.EXITED, RunReason.EXIT_RULE, "pause")
    assert [record.status for record in run.steps] == [StepStatus.CANCELLED]


def test_an_exit_rule_comes_before_the_wait() -> None:
    world = begun(wait(), exit_on=EXIT)
    world.process(event("order.completed", 5))
    assert world.state.status is RunStatus.EXITED


def test_an_exit_cancels_the_message_that_is_queued() -> None:
    world = queued(push(), exit_on=EXIT)
    sent = world.effects[0]
    world.process(event("order.completed", 5))
    assert world.effects[1] == CancelMessage(id=sent.id, step_key="push")


def test_an_exit_that_came_after_a_timer_lets_the_timer_come_first() -> None:
    """However late the timer fires, the run takes the branch it would take without the lag."""
    world = begun(delay(), step("tag", "contact_update"), delay("more", 30), exit_on=EXIT)
    world.process(event("order.completed", 12))
    assert world.state.is_open
    assert world.reasons()[-1] == "exit_pending"
    world.now_us = at(500)
    world.fire()
    assert world.state.status is RunStatus.EXITED
    assert world.path() == [("pause", "next"), ("tag", "next"), ("more", None)]
    assert world.state.at_us == at(12)


def test_an_exit_after_the_event_found_by_look_back_still_counts() -> None:
    world = World(version(chain(wait("a"), delay(), branches=("next", "received"), exit_on=EXIT)))
    world.processed += [event("a", 5), event("order.completed", 7)]
    world.begin(BEGINS)
    assert world.state.status is RunStatus.EXITED
    assert world.path() == [("wait", "received"), ("pause", None)]


def test_the_exit_that_was_received_before_the_run_began_ends_it() -> None:
    world = World(version(chain(delay(), exit_on=EXIT)))
    world.processed.append(event("order.completed", 1))
    world.begin(BEGINS)
    assert world.state.status is RunStatus.EXITED


def test_only_the_message_of_this_run_and_step_resumes_a_wait_for_it() -> None:
    clicked = "sendrealm.push.open"
    world = begun(push("first"), push("second"), wait(clicked), branches=("next", "next", "next"))
    about = {"run_id": RUN, "step_key": "second"}
    for payload, open_still in (
        ({}, True),
        (about | {"run_id": "another"}, True),
        (about | {"step_key": "first"}, True),
        (about | {"verdict": "machine"}, True),
        (about | {"verdict": "proxy"}, False),
    ):
        world.process(event(clicked, 5, payload, number=len(world.processed)))
        assert world.state.is_open is open_still


def test_a_wait_can_be_about_an_earlier_message_and_take_machines() -> None:
    config = {"message_from": "first", "include_machine": True}
    world = begun(push("first"), push("second"), wait("sendrealm.push.open", **config))
    world.process(
        event("sendrealm.push.open", 5, {"run_id": RUN, "step_key": "first", "verdict": "machine"})
    )
    assert not world.state.is_open


def test_wait_without_a_message_accepts_any_message() -> None:
    world = begun(wait("sendrealm.mail.open"))
    world.process(event("sendrealm.mail.open", 5, {"run_id": "another"}))
    assert not world.state.is_open


def test_a_message_freezes_its_variables() -> None:
    variables = {
        "sum": "trigger.payload.amount",
        "gone": "trigger.payload.nothing",
        "shop": {"value": "Lovelace & Co"},
        "name": "contact.properties.name",
    }
    world = World(version(chain(push(variables=variables))), view(contact=contact(name="Ada")))
    world.begin(BEGINS)
    (sent,) = world.effects
    assert isinstance(sent, SendMessage)
    assert sent.variables == {"sum": "12.50", "shop": "Lovelace & Co", "name": "Ada"}


@pytest.mark.parametrize(
    ("config", "branches", "status", "path", "run_status"),
    [
        ({}, ("next",), StepStatus.SKIPPED, "next", RunStatus.COMPLETED),
        ({}, ("next", "skipped"), StepStatus.SKIPPED, "skipped", RunStatus.WAITING),
        ({"on_skipped": "exit"}, ("next",), StepStatus.SKIPPED, None, RunStatus.EXITED),
        ({}, ("next", "next"), StepStatus.FAILED, None, RunStatus.FAILED),
        ({}, ("next", "failed"), StepStatus.FAILED, "failed", RunStatus.WAITING),
        ({"on_failed": "next"}, ("next",), StepStatus.FAILED, "next", RunStatus.COMPLETED),
        ({}, ("next", "next"), StepStatus.COMPLETED, "next", RunStatus.WAITING),
    ],
)
def test_message_outcome_decides_the_branch(
    config: dict[str, Any],
    branches: tuple[str, ...],
    status: StepStatus,
    path: str | None,
    run_status: RunStatus,
) -> None:
    steps = [push(**config), delay()] if len(branches) > 1 else [push(**config)]
    world = queued(*steps, branches=branches)
    reason = RunReason.NO_DEVICE if status is StepStatus.SKIPPED else None
    world.take(MessageFinished(step_key="push", status=status, at_us=at(3), reason=reason))
    assert world.path()[0] == ("push", path)
    assert world.state.status is run_status
    if run_status is RunStatus.COMPLETED:
        expected = {"skipped": Outcome.WITH_SKIPS, "failed": Outcome.WITH_FAILURES}
        assert world.state.outcome is expected[status.value]
    before = world.state
    again = MessageFinished(step_key="push", status=status, at_us=at(9), reason=reason)
    assert world.take(again) == before


def test_a_deferred_message_is_shown_with_its_reason_and_time() -> None:
    world = queued(push())
    world.take(MessageDeferred(step_key="push", until_us=at(60), reason=RunReason.QUIET_HOURS))
    record = world.state.record("push")
    assert record is not None
    assert (record.status, record.reason) == (StepStatus.DEFERRED, RunReason.QUIET_HOURS)
    assert world.notes[-1].sentence == (
        "Deferred to the end of the quiet hours: until 2026-06-08T00:01:00.000Z."
    )


def test_a_failed_run_is_retried_at_its_step_with_the_same_ids() -> None:
    world = queued(delay(), push(), wait(), exit_on=EXIT, branches=("next", "next", "next"))
    world.fire()
    failed = MessageFinished(step_key="push", status=StepStatus.FAILED, at_us=at(20), detail="550")
    assert world.take(failed).status is RunStatus.FAILED
    assert world.take(EventArrived(event("order.completed", 21))).status is RunStatus.FAILED
    world.take(Retry(at_us=at(30)))
    record = world.state.record("push")
    assert record is not None
    assert (record.status, record.attempts) == (StepStatus.WAITING, 2)
    first, second = world.effects
    assert (first.id, type(second)) == (second.id, SendMessage)
    world.process(event("order.completed", 40))
    ended = world.take(Retry(at_us=at(50)))
    assert ended.status is RunStatus.EXITED


@pytest.mark.parametrize("reason", [RunReason.CANCELLED_BY, RunReason.CONTACT_ERASED])
def test_a_cancelled_run_is_over(reason: RunReason) -> None:
    world = queued(push(), exit_on=EXIT)
    world.take(Cancel(reason=reason, at_us=at(5), detail="asked by support"))
    assert (world.state.status, world.state.reason) == (RunStatus.CANCELLED, reason)
    assert isinstance(world.effects[-1], CancelMessage)
    before = world.state
    for item in (Cancel(reason=reason, at_us=at(6)), Continue(), ContactChanged(), LookedBack(())):
        assert world.take(item) == before


def test_steps_see_changes_of_earlier_steps() -> None:
    filters = {"contact.properties.plan": "pro", "contact.in_audience": AN_ID}
    steps = (
        step("plan", "contact_update", set={"properties.plan": "pro"}, unset=["properties.trial"]),
        step("enter", "add_to_audience"),
        step("topic", "set_topic_subscription"),
        step("check", "condition", filters=filters | {"contact.subscribed_to": AN_ID}),
        step(
            "score",
            "emit_event",
            event_name="scored",
            payload={"sum": {"from": "trigger.payload.amount"}, "x": {"from": "trigger.payload.x"}},
        ),
    )
    world = World(
        version(chain(*steps, branches=("next", "next", "next", "next", "true"))),
        view(
            contact=contact(trial=True),
            audiences={AN_ID: False},
            topics={AN_ID: Subscription(is_subscribed=False)},
        ),
    )
    world.begin(event("checkout.started", 0, {"amount": Number("12.50")}, depth=2))
    assert world.path()[-2:] == [("check", "true"), ("score", "next")]
    updated, entered, subscribed, emitted = world.effects
    assert isinstance(updated, UpdateContact)
    assert updated.properties == {"trial": None, "plan": "pro"}
    assert isinstance(entered, ChangeMembership)
    assert isinstance(subscribed, SetSubscription)
    assert isinstance(emitted, EmitEvent)
    assert (emitted.payload, emitted.depth) == ('{"sum":12.50}', 3)
    assert world.state.outcome is Outcome.CLEAN


def test_impossible_or_needless_steps_are_skipped_with_a_reason() -> None:
    others = ("0d5a1f7e-51d5-4c0e-8a0e-2f6f0f4c9a77", "1d5a1f7e-51d5-4c0e-8a0e-2f6f0f4c9a77")
    steps = (
        step("in", "add_to_audience"),
        step("gone", "remove_from_audience", audience_id=others[0]),
        step("choice", "set_topic_subscription"),
        step("no_topic", "set_topic_subscription", topic_id=others[1], is_subscribed=False),
        step("same", "contact_update", set={"properties.plan": "pro"}),
        step("missing", "contact_update", set={"properties.x": {"from": "trigger.payload.x"}}),
        step("odd", "contact_update", set={"email": {"from": "trigger.payload.checkout_id"}}),
    )
    seen = view(
        contact=contact(plan="pro"),
        audiences={AN_ID: True},
        topics={AN_ID: Subscription(is_subscribed=False, own_choice=True)},
    )
    world = World(version(chain(*steps)), seen)
    world.begin(BEGINS)
    reasons = [record.reason for record in world.state.steps]
    assert [reason.value if reason else None for reason in reasons] == [
        *("already_so", "gone", "own_choice", "gone", "already_so"),
        *("missing_variable", "missing_variable"),
    ]
    assert not world.effects
    assert world.state.outcome is Outcome.WITH_SKIPS


def test_after_a_change_of_identifiers_the_contact_is_read_again() -> None:
    """Another contact may have the address, which only the store can check."""
    of = version(
        chain(
            step("mail", "contact_update", set={"email": "NEW@example.com"}),
            step("check", "condition", filters={"contact.email": "new@example.com"}),
        )
    )
    decision = begin(of, RUN, BEGINS, view())
    assert decision.again
    assert decision.run.status is RunStatus.RUNNING
    after = advance(decision.run, of, Continue(), view(), at(1))
    record = after.run.record("check")
    assert record is not None
    assert record.branch == "false"


def test_oversized_values_fail_the_run() -> None:
    big = step("emit", "emit_event", event_name="big", payload={"x": {"from": "trigger.payload.x"}})
    world = World(version(chain(big)))
    world.begin(event("checkout.started", 0, {"x": "y" * 70_000}))
    assert (world.state.status, world.state.reason) == (RunStatus.FAILED, RunReason.STEP_FAILED)
    assert "70008 bytes" in world.notes[-1].sentence
    update = step("set", "contact_update", set={"properties.x": {"from": "trigger.payload.x"}})
    world = World(version(chain(update)))
    world.begin(event("checkout.started", 0, {"x": "y" * 20_000}))
    assert world.state.status is RunStatus.FAILED


def test_a_wait_without_timeout_ends_with_the_policy() -> None:
    definition = chain(step("wait", "wait_for_event", event_name="a"))
    world = World(version(definition), view(RunPolicies(wait_max_days=2)))
    world.begin(BEGINS)
    assert world.state.open_wait is not None
    assert world.state.open_wait.due_us == at(2 * 86_400)


def test_conditions_say_which_comparison_decided() -> None:
    cases = [
        {"branch": "big", "filters": {"payload.amount_gte": 100}},
        {"branch": "known", "filters": {"contact.email_exists": True}},
    ]
    world = begun(step("check", "condition", cases=cases))
    record = world.state.record("check")
    assert record is not None
    assert record.branch == "known"
    assert record.evidence is not None
    assert record.evidence.path == "contact.email"
    assert world.notes[1].sentence == (
        "The condition decided: branch known; contact.email exists true holds, "
        "the field is a string."
    )


def test_steps_can_ask_about_steps_and_their_events() -> None:
    check = {"steps.wait.event.payload.plan": "pro", "steps.push.message.last_event": "open"}
    world = World(
        version(
            chain(
                push(),
                wait("a"),
                step("check", "condition", filters=check),
                branches=("next", "next", "received"),
            )
        ),
        view(last_message_events={"push": "open"}),
    )
    world.begin(BEGINS)
    world.process(event("a", 1, {"plan": "pro"}))
    assert world.path()[-1] == ("check", "true")


def test_a_run_is_advanced_by_its_own_version_only() -> None:
    world = begun(delay())
    other = Version(AUTOMATION, 2, world.version.definition)
    with pytest.raises(WrongVersionError):
        advance(world.state, other, Continue(), world.view, at(0))


def test_the_same_input_gives_the_same_decision() -> None:
    of = version(chain(delay(), push(), exit_on=EXIT))
    assert begin(of, RUN, BEGINS, view()) == begin(of, RUN, BEGINS, view())
    other = begin(of, "bbbbbbbb-0000-4000-8000-000000000002", BEGINS, view())
    assert other.run.waits[0].id != begin(of, RUN, BEGINS, view()).run.waits[0].id


def test_every_reason_has_a_sentence() -> None:
    assert set(_SENTENCES) == set(RunReason)


def test_a_version_says_what_it_awaits_and_needs() -> None:
    of = version(
        chain(
            wait("a"),
            step("check", "condition", filters={"contact.subscribed_to_in": ["t1", "t2"]}),
            step("enter", "add_to_audience"),
            branches=("next", "received", "true"),
            exit_on=EXIT,
        )
    )
    assert of.awaited_names == {"a", "order.completed"}
    needed = needs(of.definition)
    assert set(needed.audiences) == {AN_ID}
    assert set(needed.topics) == {"t1", "t2"}


def test_two_hundred_steps_are_taken_in_one_decision() -> None:
    steps = (step(f"s{index}", "emit_event") for index in range(200))
    world = begun(*steps)
    assert len(world.effects) == 200
    assert len({effect.id for effect in world.effects}) == 200
