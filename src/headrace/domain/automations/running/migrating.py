"""Moves a waiting run to another version of its automation."""

from __future__ import annotations

import msgspec

from headrace.domain.automations.definition.model import (
    Alternative,
    DelayConfig,
    LookBack,
    Step,
    WaitConfig,
)
from headrace.domain.automations.definition.publish_checks import channel_of
from headrace.domain.automations.filters.values import MISSING
from headrace.domain.automations.running.delays import delay_due, depends_on_contact_zone
from headrace.domain.automations.running.effects import Decision, LookBackRequest
from headrace.domain.automations.running.matching import await_event
from headrace.domain.automations.running.positions import taken_again
from headrace.domain.automations.running.reasons import RunReason, explain
from headrace.domain.automations.running.runs import Run, Wait, stable_id
from headrace.domain.automations.running.states import WaitKind, WaitStatus
from headrace.domain.automations.running.version import Version
from headrace.domain.automations.running.view import View, contact_zone, look_up

_SECOND_US = 1_000_000
_DAY_S = 86_400


def migration_problem(run: Run, version: Version, key: str) -> str | None:
    """Why a run cannot continue at a step of another version; None when it can.

    Args:
        key: of a step of the type that the run waits at.
    """
    wait = run.open_wait
    if wait is None or wait.step_key is None:
        return "it is not waiting"
    if wait.kind is WaitKind.MESSAGE and key != run.at_step:
        return "it waits for a message of this step"
    if key != run.at_step and run.record(key) is not None:
        return f"it has taken step {key}"
    taken = taken_again(run, version, key)
    return f"it would take step {min(taken)} again" if taken else None


def migrate(run: Run, version: Version, key: str, view: View, now_us: int) -> Decision:
    """Move a run, for which there is no `migration_problem`, to a step of another version.

    The wait keeps its beginning; its end, and what it waits for, are those of the new version.
    """
    wait = run.open_wait
    assert wait is not None
    before = run.version
    begun = msgspec.structs.replace(run, at_us=wait.started_us)
    moved = _moved(wait, version.step(key), begun, view)
    ended = tuple(
        msgspec.structs.replace(each, status=WaitStatus.CANCELLED, ended_us=run.at_us)
        if each.kind is WaitKind.EXIT and each.status is WaitStatus.WAITING
        else each
        for each in run.waits
        if each.id != wait.id
    )
    exits = tuple(
        Wait(
            id=stable_id(run.id, "exit", f"v{version.number}", str(number)),
            kind=WaitKind.EXIT,
            rule=number,
            started_us=run.at_us,
            awaited=(await_event(rule, LookBack.RUN, run, None),),
        )
        for number, rule in enumerate(version.definition.exit_on)
    )
    # A run that comes back to a version has had its exit rules before.
    kept = tuple(each for each in ended if each.id not in {one.id for one in exits})
    steps = tuple(
        msgspec.structs.replace(record, key=key) if record.key == run.at_step else record
        for record in run.steps
    )
    after = msgspec.structs.replace(
        run,
        version=version.number,
        at_step=key,
        steps=steps,
        waits=(*kept, *exits, moved),
        exit_pending=False,
    )
    detail = f"from version {before} to {version.number}"
    note = explain(RunReason.MIGRATED, now_us, key, detail=detail)
    return Decision(run=after, notes=(note,), look_back=_look_back((*exits, moved)))


def _moved(wait: Wait, step: Step, begun: Run, view: View) -> Wait:
    named = msgspec.structs.replace(
        wait, id=stable_id(begun.id, "wait", step.key), step_key=step.key, held_until_us=None
    )
    if isinstance(step.config, DelayConfig):
        return _delay(named, step.config, begun, view)
    if isinstance(step.config, WaitConfig):
        return _event(named, step.config, begun, view)
    return named


def _delay(wait: Wait, config: DelayConfig, begun: Run, view: View) -> Wait:
    zone, until = contact_zone(view), config.until_field
    field = MISSING if until is None else look_up(until.field, begun.trigger, begun, view)
    due = delay_due(config, wait.started_us, zone, field, f"{begun.id}/{wait.step_key}")
    # A date that is past or missing leaves the end as it was.
    return msgspec.structs.replace(
        wait,
        due_us=wait.due_us if due.at_us is None else due.at_us,
        zone=zone if depends_on_contact_zone(config) else None,
    )


def _event(wait: Wait, config: WaitConfig, begun: Run, view: View) -> Wait:
    seconds = config.timeout_seconds or view.policies.wait_max_days * _DAY_S
    return msgspec.structs.replace(
        wait,
        due_us=wait.started_us + seconds * _SECOND_US,
        awaited=tuple(
            await_event(wanted, config.look_back, begun, _sender(config, wanted, begun))
            for wanted in config.alternatives
        ),
    )


def _sender(config: WaitConfig, wanted: Alternative, run: Run) -> str | None:
    if config.message_from is not None:
        return config.message_from
    channel = channel_of(wanted.event_name)
    sends = (record.key for record in reversed(run.steps) if record.type is channel)
    return next(sends, None)


def _look_back(waits: tuple[Wait, ...]) -> LookBackRequest | None:
    awaited = [
        each
        for wait in waits
        if wait.kind in {WaitKind.EXIT, WaitKind.EVENT}
        for each in wait.awaited
        if not each.correlation_missing
    ]
    if not awaited:
        return None
    return LookBackRequest(
        names=frozenset(each.event_name for each in awaited),
        since=min(each.since for each in awaited),
    )
