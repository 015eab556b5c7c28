"""System events about runs: each once, only for projects that have asked for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from headrace.store.automations.advancing import RunAdvancer
from headrace.store.contract.automations import ATTEMPTS_MAX, RunAction, RunFilter
from tests.support.session import StoreSession
from tests.support.stored_automations import PROJECT, StoredAutomations, chain, delay, wait

STARTED, COMPLETED, FAILED = (
    f"sendrealm.automation.{name}" for name in ("started", "completed", "failed")
)
#: Larger than the properties of a contact may be together.
TOO_LARGE = "x" * 9_000
FILL = {
    "type": "contact_update",
    "config": {"set": {"properties.b": {"from": "trigger.payload.b"}}},
}


@pytest.fixture
def shop(session: StoreSession) -> StoredAutomations:
    return StoredAutomations(session)


def ask(shop: StoredAutomations, names: Sequence[str]) -> None:
    """The project asks for these events."""
    projects = shop.session.store.projects
    work = projects.set_policy(PROJECT, "optional_events", [*names], shop.clock(), actor="t")
    shop.session.run(work)


def told(shop: StoredAutomations) -> list[tuple[str, str, Any, Any]]:
    """Last part of the name, status, reason and step of every event about a run, in order."""
    rows = [
        (name, each) for name in (STARTED, COMPLETED, FAILED) for each in shop.events_named(name)
    ]
    return [
        (name.rpartition(".")[2], each["status"], each["reason"], each["step_key"])
        for name, each in rows
    ]


def retry(shop: StoredAutomations, run_id: str) -> None:
    shop.session.run(shop.operations().retry(PROJECT, run_id, "again", actor="t"))
    shop.settle()


def test_nothing_is_emitted_unless_asked_for(shop: StoredAutomations) -> None:
    shop.start_with(chain(delay(1)))
    shop.send()
    shop.forward(1)
    assert told(shop) == []
    ask(shop, [COMPLETED])
    shop.send()
    shop.forward(1)
    assert [each[0] for each in told(shop)] == ["completed"]


def test_run_is_started_and_completed_once(shop: StoredAutomations) -> None:
    ask(shop, [STARTED, COMPLETED, FAILED])
    of = shop.start_with(chain(delay(1), wait(seconds=5)))
    shop.send()
    assert told(shop) == [("started", "started", None, None)]
    shop.forward(1)
    shop.forward(5)
    run = shop.detail(of).row
    assert told(shop)[1:] == [("completed", "completed", "end_of_branch", None)]
    (event,) = shop.events_named(COMPLETED)
    assert (event["run_id"], event["automation_id"]) == (run.id, of.id)
    assert (event["version_number"], event["contact_id"]) == (1, run.contact_id)
    assert event["caused_by"] == {"run_id": run.id, "depth": 1}


def test_run_that_ends_at_once_is_started_and_completed(shop: StoredAutomations) -> None:
    ask(shop, [STARTED, COMPLETED])
    shop.start_with(chain({"type": "contact_update", "config": {"set": {"properties.a": "b"}}}))
    shop.send()
    assert [each[:3] for each in told(shop)] == [
        ("started", "started", None),
        ("completed", "completed", "end_of_branch"),
    ]


def test_each_failure_is_told_once_and_a_retry_is_no_start(shop: StoredAutomations) -> None:
    ask(shop, [STARTED, COMPLETED, FAILED])
    of = shop.start_with(chain(FILL))
    shop.contact("full", properties={"a": TOO_LARGE})
    shop.send(payload={"b": TOO_LARGE}, external_id="full")
    failure = ("failed", "failed", "step_failed", "s0")
    assert told(shop) == [("started", "started", None, None), failure]
    retry(shop, shop.detail(of).row.id)
    assert told(shop)[1:] == [failure, failure]
    shop.contact("full", properties={"a": None})
    retry(shop, shop.detail(of).row.id)
    assert [each[0] for each in told(shop)] == ["started", "completed", "failed", "failed"]


def test_run_that_an_error_has_stopped_has_failed(
    shop: StoredAutomations, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(shop, [FAILED])
    of = shop.start_with(chain(delay(1)))
    shop.send()

    async def broken(*_: object) -> None:
        raise ValueError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(RunAdvancer, "advance", broken)
        for _ in range(ATTEMPTS_MAX):
            shop.forward(1000)
    assert told(shop) == [("failed", "failed", "step_failed", "s0")]
    retry(shop, shop.detail(of).row.id)
    assert len(told(shop)) == 1


def test_cancelled_and_exited_runs_have_no_event(shop: StoredAutomations) -> None:
    ask(shop, [COMPLETED, FAILED])
    of = shop.start_with(chain(delay(60), exit_on=[{"event_name": "stop"}]))
    shop.send()
    shop.send("stop")
    shop.send()
    work = shop.operations().apply(PROJECT, of.id, RunAction.CANCEL, RunFilter(), "x", actor="t")
    shop.session.run(work)
    assert sorted(row.status for row in shop.runs(of)) == ["cancelled", "exited"]
    assert told(shop) == []


def test_event_starts_other_automations_within_the_depth(shop: StoredAutomations) -> None:
    ask(shop, [COMPLETED])
    first = shop.start_with(chain(delay(1)), "first")
    trigger = {"filters": {"automation_id": first.id}}
    second = shop.start_with(chain(delay(1), event=COMPLETED, trigger=trigger), "second")
    shop.send()
    shop.forward(1)
    assert shop.detail(second).run.depth == 1
    shop.forward(1)
    assert len(shop.runs(second)) == 1


def test_automation_that_follows_itself_ends_in_a_loop(shop: StoredAutomations) -> None:
    ask(shop, [STARTED])
    checked = shop.publish(shop.create(chain(delay(1), event=STARTED), "own"))
    assert "causes_itself" in [each.code for each in checked.report.warnings]
    shop.start_with(chain(delay(1)), "first")
    shop.send()
    own = checked.automation
    assert (len(shop.runs(own)), shop.reasons(own)) == (5, ["loop"])
