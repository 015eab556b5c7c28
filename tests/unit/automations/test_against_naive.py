"""For any definition, history and lag the machine takes the same path as the naive interpreter."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.domain.automations.running.effects import EmitEvent, SendMessage, UpdateContact
from headrace.domain.automations.running.inputs import EventArrived, TimerDue
from headrace.domain.automations.running.reasons import RunReason
from headrace.domain.automations.running.runs import Event
from headrace.domain.automations.running.states import StepStatus
from headrace.domain.automations.running.view import RunPolicies
from tests.support.automation_histories import definitions, histories
from tests.support.automation_runs import START_US, World, contact, version, view
from tests.support.naive_automations import Naive

#: So long that no timer fires before earlier events are processed.
PATIENT = RunPolicies(timer_hold_max_seconds=10**9)


def live(world: World, history: list[Event], first: int, lag: Random) -> None:
    """Run the history through the machine, with any lag that keeps the order of receipt."""
    world.processed += history[:first]
    ahead = lag.randint(0, len(history) - first - 1)
    world.processed += history[first + 1 : first + 1 + ahead]
    pending = history[first + 1 + ahead :]
    world.begin(history[first])
    while world.state.is_open:
        wait = world.state.open_wait
        assert wait is not None
        if pending and lag.random() < 0.5:
            arrived = pending.pop(0)
            world.process(arrived)
            if lag.random() < 0.5:
                world.take(EventArrived(arrived))
        elif not world.fire(unprocessed=pending):
            # Held: only the events it waits for can resume it.
            world.process(pending.pop(0))
        else:
            world.take(TimerDue(wait_id=wait.id))
    for arrived in pending:
        world.take(EventArrived(arrived))


RESULTS = st.dictionaries(
    st.sampled_from([f"s{index}" for index in range(7)]), st.sampled_from(["skipped", "failed"])
)


@settings(max_examples=300)
@given(definitions(), histories(), RESULTS, st.sampled_from([{}, {"p": 1}]), st.integers(0, 999))
def test_run_matches_naive_interpreter(
    definition: dict[str, Any],
    history: tuple[list[Event], list[dict[str, Any]], int],
    results: dict[str, str],
    properties: dict[str, Any],
    seed: int,
) -> None:
    real, plain, first = history
    naive = Naive(definition, plain[first], plain, properties, results)

    def result(key: str) -> tuple[StepStatus, RunReason | None]:
        status = StepStatus(results.get(key, "completed"))
        return status, RunReason.NO_DEVICE if status is StepStatus.SKIPPED else None

    seen = view(PATIENT, contact=contact(**properties))
    world = World(version(definition, checked=False), seen, result)
    live(world, real, first, Random(seed))

    run = world.state
    path = [(record.key, record.branch, record.finished_us) for record in run.steps]
    assert path == naive.path
    assert run.status == naive.status
    assert {record.key: record.status.value for record in run.steps} == naive.statuses
    effects: list[tuple[str, Any]] = []
    for each in world.effects:
        match each:
            case SendMessage():
                effects.append((each.step_key, "send"))
            case UpdateContact():
                effects.append((each.step_key, each.properties))
            case EmitEvent():
                effects.append((each.step_key, each.payload.replace('"x":', "")))
    said = [
        (
            key,
            str(what).replace("'x': ", "") if isinstance(what, dict) and "p" not in what else what,
        )
        for key, what in naive.effects
    ]
    assert effects == said
    assert run.at_us >= START_US
