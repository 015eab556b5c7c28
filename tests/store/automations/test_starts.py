"""Which events start a run, and why the others do not."""

from __future__ import annotations

import pytest

from headrace.domain.automations.running.starting import AutomationStatus
from headrace.domain.events.event import Source
from headrace.store.contract.automations import Automation
from headrace.store.contract.errors import LeadershipLostError
from tests.support.session import StoreSession
from tests.support.stored_automations import (
    OWNER,
    PROJECT,
    SECOND_US,
    StoredAutomations,
    chain,
    delay,
)


@pytest.fixture
def shop(session: StoreSession) -> StoredAutomations:
    return StoredAutomations(session)


def with_reentry(mode: str, **members: object) -> dict[str, object]:
    return chain(delay(60), trigger={"reentry": {"mode": mode, **members}})


def set_status(shop: StoredAutomations, of: Automation, status: AutomationStatus) -> None:
    changed = shop.definitions.set_status(PROJECT, of.id, status, shop.clock(), actor="t")
    assert shop.session.run(changed) is not None


def test_every_event_starts_a_run_by_default(shop: StoredAutomations) -> None:
    of = shop.start_with(chain(delay(60)))
    shop.send()
    shop.send()
    assert len(shop.runs(of)) == 2
    assert shop.rejected(of) == []


def test_one_active_rejects_while_a_run_is_open(shop: StoredAutomations) -> None:
    of = shop.start_with(with_reentry("one_active"))
    first = shop.send()
    second = shop.send()
    assert [row.sequence for row in shop.runs(of)] == [first.sequence]
    (rejected,) = shop.rejected(of)
    assert (rejected.reason, rejected.sequence) == ("reentry_active", second.sequence)
    shop.forward(60)
    shop.send()
    assert len(shop.runs(of)) == 2


def test_events_of_one_batch_start_one_active_run(shop: StoredAutomations) -> None:
    of = shop.start_with(with_reentry("one_active"))
    for _ in range(3):
        shop.accept()
    shop.settle()
    assert len(shop.runs(of)) == 1
    assert shop.reasons(of) == ["reentry_active", "reentry_active"]


def test_key_counts_each_value_of_its_own(shop: StoredAutomations) -> None:
    of = shop.start_with(with_reentry("one_active", key="payload.id"))
    shop.send(payload={"id": 1})
    shop.send(payload={"id": 2})
    shop.send(payload={"id": 1})
    shop.send()
    shop.send()
    assert len(shop.runs(of)) == 4
    assert shop.reasons(of) == ["reentry_active"]


def test_once_per_waits_for_its_time(shop: StoredAutomations) -> None:
    of = shop.start_with(with_reentry("once_per", seconds=100))
    shop.send()
    shop.forward(99)
    shop.send()
    assert shop.reasons(of) == ["reentry_cooldown"]
    shop.forward(1)
    shop.send()
    assert len(shop.runs(of)) == 2


def test_once_counts_over_versions_and_merges(shop: StoredAutomations) -> None:
    of = shop.start_with(with_reentry("once"))
    other = shop.contact()
    shop.send()
    shop.forward(60)
    survivor = shop.contact("customer-2")
    merges = shop.session.store.merges
    shop.session.run(merges.merge(PROJECT, survivor.id, other.id, shop.clock(), actor="t"))
    shop.send(external_id="customer-2")
    assert shop.reasons(of) == ["reentry_once"]
    assert len(shop.runs(of)) == 1


def test_filter_decides_without_a_trace(shop: StoredAutomations) -> None:
    of = shop.start_with(chain(delay(60), trigger={"filters": {"amount_gte": 1000}}))
    shop.send(payload={"amount": 400})
    assert (shop.runs(of), shop.rejected(of)) == ([], [])
    shop.send(payload={"amount": 1000})
    assert len(shop.runs(of)) == 1


def test_old_imported_and_unknown_events_are_rejected(shop: StoredAutomations) -> None:
    of = shop.start_with(chain(delay(60)))
    shop.send(occurred_us=shop.clock() - 86_401 * SECOND_US)
    shop.send(source=Source.IMPORT)
    shop.send(external_id="null")
    assert shop.reasons(of) == ["no_contact", "imported", "too_old"]
    assert shop.runs(of) == []


def test_paused_rejects_starts_and_open_runs_go_on(shop: StoredAutomations) -> None:
    of = shop.start_with(chain(delay(60)))
    shop.send()
    set_status(shop, of, AutomationStatus.PAUSED)
    shop.send()
    assert shop.reasons(of) == ["paused"]
    shop.forward(60)
    assert [row.status for row in shop.runs(of)] == ["completed"]
    set_status(shop, of, AutomationStatus.ACTIVE)
    shop.send()
    assert len(shop.runs(of)) == 2


def test_archived_starts_nothing(shop: StoredAutomations) -> None:
    of = shop.start_with(chain(delay(60)))
    set_status(shop, of, AutomationStatus.ARCHIVED)
    shop.send()
    assert (shop.runs(of), shop.rejected(of)) == ([], [])


def test_event_from_before_the_publish_starts_nothing(shop: StoredAutomations) -> None:
    made = shop.create(chain(delay(60)))
    shop.accept()
    shop.clock.forward(1)
    shop.publish(made)
    shop.settle()
    assert shop.reasons(made) == ["not_active"]


def test_replayed_event_starts_no_second_run(shop: StoredAutomations) -> None:
    of = shop.start_with(chain(delay(60)))
    event = shop.send()
    shop.session.place.run_sql(
        "INSERT INTO automation_inbox (lane, sequence, project_id, contact_id, due_us) "
        "SELECT event_lane, sequence, project_id, contact_id, 0 FROM automation_runs "
        f"WHERE sequence = {event.sequence}"
    )
    assert shop.run() == 1
    assert len(shop.runs(of)) == 1


def test_contact_with_the_maximum_of_open_runs_starts_no_more(shop: StoredAutomations) -> None:
    of = shop.start_with(chain(delay(60)))
    for _ in range(102):
        shop.accept()
    shop.settle()
    assert len(shop.runs(of)) == 100
    assert shop.reasons(of) == ["too_many_open", "too_many_open"]


def test_chain_of_automations_is_at_most_five_long(shop: StoredAutomations) -> None:
    emit = {"type": "emit_event", "config": {"event_name": "go", "payload": {}}}
    of = shop.start_with(chain(emit))
    shop.send()
    assert len(shop.runs(of)) == 6
    assert shop.reasons(of) == ["loop"]
    assert [each.get("caused_by", {}).get("depth") for each in shop.events_named("go")] == [
        *(None, 1, 2, 3, 4, 5, 6)
    ]


def test_only_the_leader_works(shop: StoredAutomations) -> None:
    shop.start_with(chain(delay(60)))
    shop.accept()
    shop.process()
    with pytest.raises(LeadershipLostError):
        shop.session.run(shop.work.work_events("b"))
    assert shop.session.run(shop.work.work_events(OWNER)).events == 1


def set_policy(shop: StoredAutomations, name: str, value: int) -> None:
    projects = shop.session.store.projects
    shop.session.run(projects.set_policy(PROJECT, name, value, shop.clock(), actor="tester"))


def test_policies_limit_open_runs_and_chains(shop: StoredAutomations) -> None:
    set_policy(shop, "open_runs_per_contact_max", 2)
    set_policy(shop, "automation_depth_max", 1)
    of = shop.start_with(chain(delay(60)))
    for _ in range(3):
        shop.send()
    assert (len(shop.runs(of)), shop.reasons(of)) == (2, ["too_many_open"])
    emit = {"type": "emit_event", "config": {"event_name": "again", "payload": {}}}
    loop = shop.start_with(chain(emit, event="again"), "loop")
    shop.send("again", external_id="other")
    assert (len(shop.runs(loop)), shop.reasons(loop)) == (2, ["loop"])


def test_starts_above_the_limit_of_an_hour_wait(shop: StoredAutomations) -> None:
    set_policy(shop, "automation_start_limit_per_hour", 2)
    of = shop.start_with(chain(delay(60)))
    sent = [shop.send(external_id=f"c{number}") for number in range(5)]
    assert len(shop.runs(of)) == 2
    # Their event still counts for open runs, and holds no timer.
    shop.forward(60)
    assert [run.status for run in shop.runs(of)] == ["completed", "completed"]
    shop.forward(3660)
    assert len(shop.runs(of)) == 4
    assert shop.rejected(of) == []
    shop.forward(3660)
    # Delays count from the receipt of the event.
    assert {run.sequence for run in shop.runs(of)} == {each.sequence for each in sent}
    assert {run.status for run in shop.runs(of)} == {"completed"}


def test_start_that_has_waited_for_a_day_is_rejected(shop: StoredAutomations) -> None:
    set_policy(shop, "automation_start_limit_per_hour", 1)
    of = shop.start_with(chain(delay(60)))
    for number in range(26):
        shop.accept(external_id=f"c{number}")
    shop.settle()
    for _ in range(26):
        shop.forward(3660)
    assert shop.reasons(of)[0] == "start_limit"
    assert len(shop.runs(of)) + len(shop.rejected(of)) == 26
    left = shop.session.place.run_sql("SELECT count(*) FROM automation_inbox")
    assert left == [(0,)]
