"""Waiting runs move to another version."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.domain.automations.running.states import RunStatus
from headrace.store.automations.automations import Changes
from headrace.store.automations.version_changes import RunMigrations, WrongMigrationError
from headrace.store.contract.automations import (
    Automation,
    Migration,
    MigrationResult,
    StepMove,
)
from tests.support.session import StoreSession
from tests.support.stored_automations import (
    PROJECT,
    SECOND_US,
    StoredAutomations,
    chain,
    delay,
    wait,
)


@pytest.fixture
def shop(session: StoreSession) -> StoredAutomations:
    return StoredAutomations(session)


def migrations(shop: StoredAutomations) -> RunMigrations:
    return RunMigrations(shop.work._database, shop.work.advancer, shop.clock)


def publish(shop: StoredAutomations, of: Automation, definition: dict[str, Any]) -> None:
    fields = Changes(draft=json.dumps(definition))
    shop.session.run(shop.definitions.update(PROJECT, of.id, fields, shop.clock(), actor="tester"))
    assert shop.publish(of).report.problems == ()


def move(
    shop: StoredAutomations, of: Automation, steps: dict[str, str] | None = None
) -> MigrationResult:
    wanted = Migration(from_version=1, to_version=2, steps=steps)
    work = migrations(shop).apply(PROJECT, of.id, wanted, "why", actor="tester")
    done = shop.session.run(work)
    assert done is not None
    shop.settle()
    return done


def test_delay_keeps_its_beginning_and_gets_its_new_end(shop: StoredAutomations) -> None:
    of = shop.start_with(chain(delay(3600), delay(60)))
    shop.send()
    begun_us = shop.clock()
    publish(shop, of, chain(delay(600), delay(5)))
    shop.forward(300)
    wanted = Migration(from_version=1, to_version=2)
    found = shop.session.run(migrations(shop).preview(PROJECT, of.id, wanted))
    assert found is not None
    assert list(found.steps) == [StepMove(step="s0", to="s0", runs=1)]
    assert move(shop, of) == MigrationResult(moved=1, stayed=0, has_more=False)
    (run,) = shop.runs(of)
    assert (run.version, run.due_us) == (2, begun_us + 600 * SECOND_US)
    shop.forward(300)
    shop.forward(5)
    assert shop.runs(of)[0].status is RunStatus.COMPLETED
    assert "migrated" in [note.reason for note in shop.detail(of).notes]


def test_event_received_before_the_move_counts_for_the_new_wait(shop: StoredAutomations) -> None:
    of = shop.start_with(chain(wait("old", 3600), delay(60)))
    shop.send()
    shop.send("new")
    renamed = chain(wait("new", 3600), delay(60))
    text = json.dumps(renamed).replace('"s0"', '"first"')
    publish(shop, of, json.loads(text))
    assert move(shop, of, {"s0": "first"}).moved == 1
    assert shop.path(of) == [("first", "received"), ("s1", None)]


def test_exit_rules_are_those_of_the_new_version(shop: StoredAutomations) -> None:
    of = shop.start_with(chain(delay(3600), exit_on=[{"event_name": "old"}]))
    shop.send()
    publish(shop, of, chain(delay(3600), exit_on=[{"event_name": "new"}]))
    assert move(shop, of).moved == 1
    shop.send("old")
    assert shop.runs(of)[0].status is RunStatus.WAITING
    shop.send("new")
    assert shop.runs(of)[0].status is RunStatus.EXITED


def test_runs_without_a_target_or_that_would_repeat_a_step_stay(shop: StoredAutomations) -> None:
    of = shop.start_with(chain(delay(60), delay(60), wait("x", 3600)))
    shop.send()
    shop.forward(60)
    # Here s0, which the run has taken, comes after s1.
    swapped = {
        "trigger": {"event_name": "go"},
        "steps": [{"key": "s1", **delay(60)}, {"key": "s0", **delay(60)}],
        "connections": [{"from": "trigger", "to": "s1"}, {"from": "s1", "to": "s0"}],
    }
    publish(shop, of, swapped)
    assert move(shop, of) == MigrationResult(moved=0, stayed=1, has_more=False)
    shop.forward(60)
    # Its step has no target.
    assert move(shop, of) == MigrationResult(moved=0, stayed=0, has_more=False)
    assert shop.runs(of)[0].version == 1
    shop.send("x")
    assert shop.runs(of)[0].status is RunStatus.COMPLETED


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (Migration(from_version=1, to_version=3), "to_version"),
        (Migration(from_version=1, to_version=1), "to_version"),
        (Migration(from_version=1, to_version=2, steps={"x": "s0"}), "steps.x"),
        (Migration(from_version=1, to_version=2, steps={"s0": "x"}), "steps.s0"),
        (Migration(from_version=1, to_version=2, steps={"s0": "s1"}), "steps.s0"),
    ],
)
def test_versions_and_steps_must_fit(
    shop: StoredAutomations, wanted: Migration, field: str
) -> None:
    of = shop.start_with(chain(delay(60), wait()))
    publish(shop, of, chain(delay(61), wait()))
    with pytest.raises(WrongMigrationError) as caught:
        shop.session.run(migrations(shop).preview(PROJECT, of.id, wanted))
    assert caught.value.field == field
