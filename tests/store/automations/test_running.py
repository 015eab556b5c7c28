"""Runs start, wait, take branches and end, on both stores."""

from __future__ import annotations

import json

import msgspec
import pytest

from headrace.domain.automations.running.reasons import RunReason
from headrace.domain.automations.running.states import FoundBy, Outcome, RunStatus, WaitStatus
from headrace.store.automations.automations import Changes
from tests.support.session import StoreSession
from tests.support.stored_automations import SECOND_US, StoredAutomations, chain, delay, wait


@pytest.fixture
def shop(session: StoreSession) -> StoredAutomations:
    return StoredAutomations(session)


def test_event_starts_a_run_that_waits_for_its_delay(shop: StoredAutomations) -> None:
    of = shop.start_with(chain(delay(60)))
    shop.send(payload={"n": 12.50})
    run = shop.detail(of)
    assert run.row.status is RunStatus.WAITING
    assert run.row.due_us == run.row.started_us + 60 * SECOND_US
    assert run.run.trigger.payload["n"] == "12.5"

    shop.forward(59)
    assert shop.detail(of).row.status is RunStatus.WAITING
    shop.forward(1)
    done = shop.detail(of)
    assert done.row.status is RunStatus.COMPLETED
    assert done.row.outcome is Outcome.CLEAN
    assert done.row.due_us is None
    assert [note.reason for note in done.notes] == [
        RunReason.STARTED,
        RunReason.DELAY_BEGUN,
        RunReason.DELAY_ELAPSED,
        RunReason.END_OF_BRANCH,
    ]


def test_numbers_of_the_trigger_keep_their_digits(shop: StoredAutomations) -> None:
    of = shop.start_with(chain(delay(60)))
    long = "12345678901234567890.10"
    event = shop.new_event()
    shop.session.accept(msgspec.structs.replace(event, payload=f'{{"n": {long}}}'))
    shop.settle()
    assert shop.detail(of).run.trigger.payload["n"] == long


def test_wait_is_resumed_by_an_event_of_another_identifier(shop: StoredAutomations) -> None:
    shop.contact(email="ann@example.net")
    of = shop.start_with(chain(wait("done"), delay()))
    shop.send()
    shop.send("done", external_id=None, email="ann@example.net", lane=3)
    assert shop.path(of) == [("s0", "received"), ("s1", None)]
    (first, _) = shop.detail(of).run.waits
    assert first.status is WaitStatus.RECEIVED
    assert first.found_by is FoundBy.ARRIVAL


def test_wait_times_out(shop: StoredAutomations) -> None:
    of = shop.start_with(chain(wait("done", 60)))
    shop.send()
    shop.forward(60)
    assert shop.path(of) == [("s0", "timed_out")]
    shop.send("done")
    assert shop.path(of) == [("s0", "timed_out")]


def test_wait_finds_an_event_from_before_it_began(shop: StoredAutomations) -> None:
    of = shop.start_with(chain(delay(60), wait("done", 60), delay(5)))
    shop.send()
    shop.send("done")
    shop.forward(60)
    assert shop.path(of) == [("s0", "next"), ("s1", "received"), ("s2", None)]
    found = shop.detail(of).run.waits[1]
    assert found.found_by is FoundBy.LOOK_BACK


def test_event_of_another_value_does_not_resume(shop: StoredAutomations) -> None:
    same = {"payload.id": "trigger.payload.id"}
    of = shop.start_with(chain(wait("done", 60, correlate=same), delay(5)))
    shop.send(payload={"id": "x"})
    shop.send("done", {"id": "y"})
    assert shop.path(of) == [("s0", None)]
    shop.send("done", {"id": "x"})
    assert shop.path(of) == [("s0", "received"), ("s1", None)]


def test_exit_rule_ends_a_run_at_any_step(shop: StoredAutomations) -> None:
    of = shop.start_with(chain(delay(60), exit_on=[{"event_name": "bought"}]))
    shop.send()
    shop.send("bought")
    assert shop.detail(of).row.status is RunStatus.EXITED
    shop.forward(60)
    assert shop.detail(of).row.status is RunStatus.EXITED


def test_event_received_in_time_counts_although_it_is_processed_late(
    shop: StoredAutomations,
) -> None:
    of = shop.start_with(chain(wait("done", 60), delay(5)))
    shop.send()
    shop.clock.forward(59)
    shop.accept("done")
    shop.clock.forward(30)
    # The runner comes first: it finds that an earlier event is not processed yet.
    shop.run()
    assert shop.path(of) == [("s0", None)]
    assert shop.detail(of).notes[-1].reason is RunReason.TIMER_HELD
    shop.settle()
    assert shop.path(of)[0] == ("s0", "received")


def test_event_in_the_inbox_counts_before_the_timer(shop: StoredAutomations) -> None:
    of = shop.start_with(chain(wait("done", 60), delay(5)))
    shop.send()
    shop.clock.forward(59)
    shop.accept("done")
    shop.clock.forward(30)
    shop.process()
    shop.session.run(shop.work.work_timers("a"))
    assert shop.path(of) == [("s0", None)]
    shop.settle()
    assert shop.path(of)[0] == ("s0", "received")


def test_runs_keep_their_version(shop: StoredAutomations) -> None:
    of = shop.start_with(chain(delay(60)))
    shop.send()
    changed = json.dumps(chain(delay(10), delay(10)))
    shop.session.run(
        shop.definitions.update(1, of.id, Changes(draft=changed), shop.clock(), actor="t")
    )
    checked = shop.publish(of)
    assert checked.version is not None
    assert checked.version.number == 2
    shop.forward(60)
    assert [row.status for row in shop.runs(of)] == [RunStatus.COMPLETED]
    shop.send()
    assert [row.version for row in shop.runs(of)] == [2, 1]


def test_events_that_nobody_waits_for_write_no_row(shop: StoredAutomations) -> None:
    shop.start_with(chain(delay(60)))
    shop.accept("other")
    shop.process()
    assert shop.session.place.run_sql("SELECT count(*) FROM automation_inbox") == [(0,)]


def test_deleted_contact_ends_its_runs(shop: StoredAutomations) -> None:
    person = shop.contact()
    of = shop.start_with(chain(delay(3600)))
    shop.send()
    contacts = shop.session.store.contacts
    assert shop.session.run(contacts.delete(1, person.id, shop.clock(), source="api"))
    shop.settle()
    done = shop.detail(of)
    assert done.row.status is RunStatus.CANCELLED
    assert done.row.reason is RunReason.CONTACT_DELETED


def test_merged_contact_continues_its_runs(shop: StoredAutomations) -> None:
    other = shop.contact()
    of = shop.start_with(chain(wait("done", 3600), delay(5)))
    shop.send()
    survivor = shop.contact("customer-2")
    shop.session.run(
        shop.session.store.merges.merge(1, survivor.id, other.id, shop.clock(), actor="t")
    )
    shop.send("done", external_id="customer-2")
    assert shop.path(of)[0] == ("s0", "received")


def test_date_of_a_delay_moves_with_the_contact(shop: StoredAutomations) -> None:
    field = {"field": "contact.properties.until"}
    of = shop.start_with(chain({"type": "delay", "config": {"until_field": field}}))
    shop.contact(properties={"until": "2030-01-01T00:00:00Z"})
    shop.send()
    before = shop.detail(of).row.due_us
    shop.contact(properties={"until": "2031-01-01T00:00:00Z"})
    shop.settle()
    after = shop.detail(of).row.due_us
    assert before is not None
    assert after == before + 365 * 86_400 * SECOND_US
