"""Pausing with open runs, and resuming with what is overdue."""

from __future__ import annotations

import pytest

from headrace.domain.automations.running.starting import AutomationStatus
from headrace.domain.automations.running.states import RunStatus
from headrace.domain.messages.guardrails import Reason
from headrace.domain.messages.kinds import MessageStatus
from headrace.store.contract.automations import (
    PARKED_US,
    Automation,
    Overdue,
    OverdueRuns,
    PauseMode,
    ResumePreview,
)
from headrace.store.contract.messages import Start, StartResult
from tests.support.automation_mail import messages, send_mail, set_up_mail
from tests.support.session import StoreSession
from tests.support.stored_automations import PROJECT, StoredAutomations, chain, delay, wait


@pytest.fixture
def shop(session: StoreSession) -> StoredAutomations:
    return StoredAutomations(session)


def pause(shop: StoredAutomations, of: Automation, mode: PauseMode = PauseMode.HOLD) -> None:
    pausing = shop.session.store.automations.pausing
    changed = shop.session.run(pausing.pause(PROJECT, of.id, mode, shop.clock(), actor="tester"))
    assert changed is not None
    assert changed.status == "paused"
    shop.settle()


def resume(
    shop: StoredAutomations, of: Automation, overdue: Overdue = Overdue.RUN, late: int = 0
) -> None:
    pausing = shop.session.store.automations.pausing
    work = pausing.resume(
        PROJECT, of.id, shop.clock(), overdue=overdue, max_late_seconds=late, actor="tester"
    )
    changed = shop.session.run(work)
    assert changed is not None
    assert changed.status == "active"
    shop.settle()


def preview(shop: StoredAutomations, of: Automation, late: int = 0) -> ResumePreview:
    pausing = shop.session.store.automations.pausing
    work = pausing.preview(PROJECT, of.id, shop.clock(), max_late_seconds=late)
    found = shop.session.run(work)
    assert found is not None
    return found


def reasons(shop: StoredAutomations, of: Automation) -> list[str | None]:
    return [step.reason for step in shop.detail(of).run.steps]


def test_held_run_stands_still_and_goes_on_when_it_is_resumed(shop: StoredAutomations) -> None:
    of = shop.start_with(chain(delay(60), delay(60)))
    shop.send()
    due_us = shop.runs(of)[0].due_us
    pause(shop, of)
    shop.forward(600)
    (run,) = shop.runs(of)
    # Its due time is shown as it was.
    assert (run.status, run.at_step, run.due_us) == (RunStatus.WAITING, "s0", due_us)
    assert shop.run() == 0
    shop.send(external_id="another")
    assert shop.reasons(of) == ["paused"]
    expected = OverdueRuns(version=1, at_step="s0", runs=1, sends=())
    assert preview(shop, of) == ResumePreview(runs=1, more=False, sends=0, steps=[expected])
    assert preview(shop, of, late=541).runs == 0

    resume(shop, of)
    assert shop.path(of) == [("s0", "next"), ("s1", "next")]
    assert preview(shop, of).runs == 0


def test_events_count_while_runs_are_held(shop: StoredAutomations) -> None:
    of = shop.start_with(chain(wait("done", 3600), delay(60), exit_on=[{"event_name": "stop"}]))
    shop.send()
    shop.send(external_id="b")
    pause(shop, of)
    shop.send("done")
    shop.send("stop", external_id="b")
    shop.forward(600)
    states = {run.status: run.at_step for run in shop.runs(of)}
    assert states == {RunStatus.WAITING: "s1", RunStatus.EXITED: "s0"}
    resume(shop, of)
    assert {run.status for run in shop.runs(of)} == {RunStatus.COMPLETED, RunStatus.EXITED}


def test_timeout_of_a_held_wait_is_taken_late_and_events_before_it_win(
    shop: StoredAutomations,
) -> None:
    of = shop.start_with(chain(wait("done", 60), delay(5)))
    shop.send()
    pause(shop, of)
    shop.forward(30)
    shop.forward(600)
    shop.send("done")
    resume(shop, of)
    # The event came after the timeout.
    assert shop.path(of) == [("s0", "timed_out")]


def test_drained_runs_go_on_and_draining_ends_a_hold(shop: StoredAutomations) -> None:
    of = shop.start_with(chain(delay(60), delay(60)))
    shop.send()
    pause(shop, of)
    shop.forward(60)
    pause(shop, of, PauseMode.DRAIN)
    assert shop.path(of) == [("s0", "next"), ("s1", None)]
    shop.forward(60)
    assert shop.runs(of)[0].status is RunStatus.COMPLETED


def test_archiving_ends_a_hold(shop: StoredAutomations) -> None:
    of = shop.start_with(chain(delay(60)))
    shop.send()
    pause(shop, of)
    shop.forward(60)
    archived = shop.definitions.set_status(
        PROJECT, of.id, AutomationStatus.ARCHIVED, shop.clock(), actor="tester"
    )
    shop.session.run(archived)
    shop.settle()
    assert shop.runs(of)[0].status is RunStatus.COMPLETED


def test_pausing_can_cancel_all_open_runs(shop: StoredAutomations) -> None:
    of = shop.start_with(chain(delay(60)))
    other = shop.start_with(chain(delay(60)), "other")
    # More than one transaction takes.
    for number in range(80):
        shop.accept(external_id=f"c{number}")
    shop.settle()
    pause(shop, of, PauseMode.CANCEL)
    assert {run.status for run in shop.runs(of)} == {RunStatus.CANCELLED}
    assert {run.status for run in shop.runs(other)} == {RunStatus.WAITING}
    assert shop.session.place.run_sql("SELECT task FROM automations WHERE task IS NOT NULL") == []


def test_deleted_contact_ends_a_held_run(shop: StoredAutomations) -> None:
    person = shop.contact()
    of = shop.start_with(chain(delay(60)))
    shop.send()
    pause(shop, of)
    shop.forward(60)
    contacts = shop.session.store.contacts
    assert shop.session.run(contacts.delete(PROJECT, person.id, shop.clock(), source="api"))
    shop.settle()
    assert shop.runs(of)[0].status is RunStatus.CANCELLED


def test_overdue_runs_are_cancelled_when_asked(shop: StoredAutomations) -> None:
    of = shop.start_with(chain(delay(60), delay(60)))
    shop.send()
    pause(shop, of)
    shop.forward(50)
    # Its delay ends later, so it is less late.
    resume(shop, of)
    shop.send(external_id="b")
    pause(shop, of)
    shop.forward(100)
    resume(shop, of, Overdue.CANCEL, late=60)
    states = {run.contact_id: run.status for run in shop.runs(of)}
    assert sorted(states.values()) == [RunStatus.CANCELLED, RunStatus.WAITING]
    # Later ones are not late.
    shop.send(external_id="c")
    shop.forward(200)
    assert sorted(run.status for run in shop.runs(of)) == ["cancelled", "completed", "completed"]


def test_overdue_sends_are_skipped_when_asked(shop: StoredAutomations) -> None:
    set_up_mail(shop)
    of = shop.start_with(chain(delay(60), send_mail(), delay(60), send_mail(), delay(600)))
    shop.contact(email="ann@example.net")
    shop.send()
    pause(shop, of)
    shop.forward(90)
    expected = OverdueRuns(version=1, at_step="s0", runs=1, sends=("s1",))
    assert preview(shop, of) == ResumePreview(runs=1, more=False, sends=1, steps=[expected])
    resume(shop, of, Overdue.SKIP_SENDS)
    assert reasons(shop, of) == [None, "overdue", None]
    # The second mail is not late.
    shop.forward(30)
    assert [row[4] for row in messages(shop)] == ["s3"]


def test_many_sends_in_a_row_are_skipped(shop: StoredAutomations) -> None:
    set_up_mail(shop)
    of = shop.start_with(chain(delay(60), *(send_mail() for _ in range(190))))
    shop.contact(email="ann@example.net")
    shop.send()
    pause(shop, of)
    shop.forward(90)
    resume(shop, of, Overdue.SKIP_SENDS)
    assert shop.runs(of)[0].status is RunStatus.COMPLETED
    assert messages(shop) == []


def start_message(shop: StoredAutomations) -> StartResult:
    """What the outbox does with the only message."""
    outbox = shop.session.store.messages.outbox
    outbox._clock_us = shop.clock
    (claimed,) = shop.session.run(outbox.claim("worker", 10))
    start = Start(claimed=claimed, relay="r", subject="Hi")
    return shop.session.run(outbox.start("worker", [start]))[claimed.message.id]


@pytest.mark.parametrize("overdue", list(Overdue))
def test_queued_mail_of_a_held_run_waits(shop: StoredAutomations, overdue: Overdue) -> None:
    set_up_mail(shop)
    of = shop.start_with(chain(send_mail(), delay(60)))
    shop.contact(email="ann@example.net")
    shop.send()
    pause(shop, of)
    first = start_message(shop)
    assert (first.state, first.reason) == (MessageStatus.DEFERRED, Reason.PAUSED_HOLD)
    shop.forward(600)
    resume(shop, of, overdue)
    if overdue is Overdue.CANCEL:
        assert [row[1] for row in messages(shop)] == ["cancelled"]
        return
    second = start_message(shop)
    if overdue is Overdue.RUN:
        assert second.attempt is not None
        return
    assert (second.state, second.reason) == (MessageStatus.SKIPPED, Reason.OVERDUE)
    shop.forward(60)
    assert reasons(shop, of)[0] == "overdue"


def test_held_times_are_beyond_every_other() -> None:
    assert PARKED_US == 2**61
