"""Advances a run: a pure state machine, from a run and one input to a decision.

It has no clock, no randomness and no store. The same run, version, input and view give the same
decision, with the same ids, so a decision that was not stored can be repeated.

1. The input ends the wait that the run is at, or changes nothing.
2. The run takes step after step until it has to wait again or ends.
3. The decision lists the effects of these steps, and notes with their reasons.

Time in a run is that of its inputs: an event counts from when it was received, a timer from when it
was due. So the result does not depend on how far behind a worker is.
"""

from __future__ import annotations

from typing import assert_never

import msgspec

from headrace.domain.automations.definition.model import (
    Alternative,
    Branch,
    ConditionConfig,
    DelayConfig,
    EmailConfig,
    LookBack,
    NextOrExit,
    OnFailed,
    PushConfig,
    Step,
    WaitConfig,
)
from headrace.domain.automations.definition.publish_checks import channel_of
from headrace.domain.automations.filters.evaluation import Evidence, evaluate
from headrace.domain.automations.filters.paths import Path
from headrace.domain.automations.filters.values import MISSING, Value, is_missing
from headrace.domain.automations.limits import LATE_EVENTS_MAX
from headrace.domain.automations.running.actions import act, value_of
from headrace.domain.automations.running.delays import delay_due, depends_on_contact_zone
from headrace.domain.automations.running.effects import (
    CancelMessage,
    Decision,
    Effect,
    LookBackRequest,
    SendMessage,
    UpdateContact,
)
from headrace.domain.automations.running.inputs import (
    Cancel,
    ContactChanged,
    Continue,
    EventArrived,
    Input,
    LookedBack,
    MessageDeferred,
    MessageFinished,
    Retry,
    TimerDue,
)
from headrace.domain.automations.running.matching import Mismatch, await_event, mismatch
from headrace.domain.automations.running.reasons import Note, RunReason, explain
from headrace.domain.automations.running.runs import (
    Awaited,
    Event,
    Run,
    StepRecord,
    Wait,
    stable_id,
)
from headrace.domain.automations.running.states import (
    FoundBy,
    Outcome,
    RunStatus,
    StepStatus,
    WaitKind,
    WaitStatus,
)
from headrace.domain.automations.running.version import Version
from headrace.domain.automations.running.view import View, contact_zone, facts, look_up
from headrace.domain.timestamps import to_text

_SECOND_US = 1_000_000
_DAY_S = 86_400
#: How long a held timer waits before it is checked again.
_HOLD_US = _SECOND_US


class WrongVersionError(ValueError):
    """The run belongs to a different version than the given one."""


def begin(version: Version, run_id: str, event: Event, view: View) -> Decision:
    """Begin a run and take its first steps; `starting.decide_start` decides whether it may begin.

    Args:
        version: the published one.
        run_id: id of the new run.
        event: the event that begins it.
        view: of the contact that the event belongs to.
    """
    run = Run(
        id=run_id,
        automation_id=version.automation_id,
        version=version.number,
        trigger=event,
        status=RunStatus.RUNNING,
        at_us=event.received_us,
        depth=event.depth,
        used={event.name: event.sequence},
    )
    machine = _Machine(version, run, view)
    machine.begin()
    return machine.decision()


def advance(run: Run, version: Version, item: Input, view: View, now_us: int) -> Decision:
    """Decide what follows from one input.

    An input that does not match the run's state, because it is repeated or late, changes nothing
    and adds a note.

    Args:
        run: as it was stored.
        version: the one that the run began with.
        item: what has happened.
        view: of the run's contact.
        now_us: the wall clock, for timers that are held. Nothing else depends on it.

    Raises:
        WrongVersionError: the version is not that of the run.
    """
    if (run.automation_id, run.version) != (version.automation_id, version.number):
        message = f"run {run.id} is of version {run.version}, not {version.number}"
        raise WrongVersionError(message)
    machine = _Machine(version, run, view)
    machine.take(item, now_us)
    return machine.decision()


class _Machine:
    """A decision being built. `run` is replaced at each transition, the rest accumulates."""

    def __init__(self, version: Version, run: Run, view: View) -> None:
        self._version = version
        self._view = view
        self._run = run
        self._effects: list[Effect] = []
        self._notes: list[Note] = []
        self._wants_look_back = False
        self._again = False
        #: Whether the run has left the wait it was at.
        self._moved = False

    def decision(self) -> Decision:
        """Everything that was decided."""
        return Decision(
            run=self._run,
            effects=tuple(self._effects),
            notes=tuple(self._notes),
            look_back=self._look_back(),
            again=self._again,
        )

    # Inputs.

    def begin(self) -> None:
        rules = self._version.definition.exit_on
        waits = [
            Wait(
                id=self._id("exit", str(number)),
                kind=WaitKind.EXIT,
                rule=number,
                started_us=self._run.at_us,
                awaited=(await_event(rule, LookBack.RUN, self._run, None),),
            )
            for number, rule in enumerate(rules)
        ]
        self._replace(waits=tuple(waits))
        self._note(RunReason.STARTED)
        self._wants_look_back = bool(rules)
        if self._version.graph.first is None:
            self._end(RunStatus.COMPLETED, RunReason.END_OF_BRANCH)
        self._walk(self._version.graph.first)

    def take(self, item: Input, now_us: int) -> None:
        if isinstance(item, Retry):
            self._retry(item)
        elif not self._run.is_open:
            self._note(RunReason.NOTHING_TO_DO, detail=f"the run is {self._run.status}")
        elif isinstance(item, TimerDue):
            self._timer(item, now_us)
        else:
            self._take_open(item)

    def _take_open(
        self,
        item: EventArrived
        | LookedBack
        | MessageFinished
        | MessageDeferred
        | Cancel
        | Continue
        | ContactChanged,
    ) -> None:
        match item:
            case EventArrived(event):
                self._event(event, FoundBy.ARRIVAL)
            case LookedBack(events):
                self._looked_back(events)
            case MessageFinished():
                self._message_finished(item)
            case MessageDeferred():
                self._message_deferred(item)
            case Cancel():
                self._at(item.at_us)
                self._end(RunStatus.CANCELLED, item.reason, detail=item.detail)
            case Continue():
                self._continue()
            case ContactChanged():
                self._contact_changed()
            case _:
                assert_never(item)

    def _event(self, event: Event, found_by: FoundBy) -> None:
        """An exit rule takes precedence over the step that the run is at."""
        if self._exit(event):
            return
        wait = self._run.open_wait
        if wait is not None and wait.kind is WaitKind.EVENT and not _is_late(wait, event):
            fits = self._fitting(wait, event)
            if fits is not None:
                self._received(wait, fits, event, found_by)
                return
        self._late(event)

    def _exit(self, event: Event) -> bool:
        """End the run if an exit rule matches; returns whether one does."""
        for wait in self._run.waits:
            if wait.kind is not WaitKind.EXIT or wait.status is not WaitStatus.WAITING:
                continue
            rule = self._version.exit_rule(wait.rule or 0)
            if mismatch(rule, wait.awaited[0], event, self._run, self._view) is not None:
                continue
            stands_at = self._run.open_wait
            if stands_at is not None and _is_late(stands_at, event):
                # The timer was due before the event was received, so it comes first. Its result is
                # not known yet; the event is read again once it is.
                self._replace(exit_pending=True)
                self._note(RunReason.EXIT_PENDING, stands_at.step_key)
                return True
            self._at(event.received_us)
            self._close(wait, WaitStatus.RECEIVED, event)
            self._end(RunStatus.EXITED, RunReason.EXIT_RULE, detail=event.name)
            return True
        return False

    def _fitting(self, wait: Wait, event: Event) -> Awaited | None:
        """Which of the events of a wait this event matches."""
        config = self._version.step(wait.step_key or "").config
        if not isinstance(config, WaitConfig):
            return None
        for wanted, awaited in zip(config.alternatives, wait.awaited, strict=True):
            why = self._mismatch(wanted, awaited, event, config)
            if why is None:
                return awaited
            if why[0] is not Mismatch.OTHER_NAME:
                self._note(
                    RunReason.EVENT_IGNORED,
                    wait.step_key,
                    detail="" if why[1] else f"{event.name}: {why[0]}",
                    evidence=why[1],
                )
        return None

    def _mismatch(
        self, wanted: Alternative, awaited: Awaited, event: Event, config: WaitConfig
    ) -> tuple[Mismatch, Evidence | None] | None:
        machine = config.include_machine
        return mismatch(wanted, awaited, event, self._run, self._view, include_machine=machine)

    def _received(self, wait: Wait, fits: Awaited, event: Event, found_by: FoundBy) -> None:
        self._at(event.received_us)
        self._replace(used={**self._run.used, event.name: event.sequence})
        self._close(wait, WaitStatus.RECEIVED, event, found_by)
        key = wait.step_key or ""
        self._change(key, event=event)
        self._note(RunReason.EVENT_RECEIVED, key, detail=event.name)
        self._leave(key, fits.branch)

    def _late(self, event: Event) -> None:
        """Record the event on a wait that it would have matched in time."""
        for wait in self._run.waits:
            over = wait.status is WaitStatus.TIMED_OUT
            due = wait.status is WaitStatus.WAITING and _is_late(wait, event)
            full = len(wait.late_events) >= LATE_EVENTS_MAX
            if wait.kind is not WaitKind.EVENT or not (over or due) or full:
                continue
            if event.sequence in wait.late_events:
                continue
            if self._fitting(wait, event) is not None:
                self._put(wait, late_events=(*wait.late_events, event.sequence))
                self._note(RunReason.EVENT_LATE, wait.step_key, detail=event.name)

    def _looked_back(self, events: tuple[Event, ...]) -> None:
        """Apply the events in order until one advances the run; the rest is then read again."""
        self._replace(exit_pending=False)
        for event in events:
            self._event(event, FoundBy.LOOK_BACK)
            if self._moved:
                self._wants_look_back = self._wants_look_back or self._has_exits()
                return

    def _timer(self, item: TimerDue, now_us: int) -> None:
        wait = self._run.open_wait
        if wait is None or wait.id != item.wait_id or wait.due_us is None or wait.due_us > now_us:
            self._note(RunReason.NOTHING_TO_DO, detail="the timer is not due")
            return
        if self._is_held(wait, wait.due_us, item.oldest_unprocessed_us, now_us):
            return
        self._at(wait.due_us)
        key = wait.step_key or ""
        if wait.kind is WaitKind.EVENT:
            self._close(wait, WaitStatus.TIMED_OUT)
            self._note(RunReason.TIMED_OUT, key)
            self._leave(key, Branch.TIMED_OUT)
        else:
            self._close(wait, WaitStatus.ELAPSED)
            self._note(RunReason.DELAY_ELAPSED, key)
            self._leave(key, Branch.NEXT)
        self._wants_look_back = self._wants_look_back or self._run.exit_pending

    def _is_held(self, wait: Wait, due_us: int, oldest_us: int | None, now_us: int) -> bool:
        """Postpone a timer while an earlier event may still arrive, up to a limit."""
        if wait.kind is not WaitKind.EVENT and not self._has_exits():
            return False
        if oldest_us is None or oldest_us > due_us:
            return False
        latest_us = due_us + self._view.policies.timer_hold_max_seconds * _SECOND_US
        behind_s = (now_us - oldest_us) // _SECOND_US
        if now_us >= latest_us:
            detail = f"taken all the same, with processing {behind_s} seconds behind"
            self._note(RunReason.TIMER_HELD, wait.step_key, detail=detail)
            return False
        self._put(wait, held_until_us=min(now_us + _HOLD_US, latest_us))
        self._note(RunReason.TIMER_HELD, wait.step_key, detail=f"{behind_s} seconds behind")
        return True

    def _message_finished(self, item: MessageFinished) -> None:
        wait = self._message_wait(item.step_key)
        step = self._version.graph.steps.get(item.step_key)
        config = None if step is None else step.config
        if wait is None or not isinstance(config, EmailConfig | PushConfig):
            self._note(RunReason.NOTHING_TO_DO, detail="no message of this step is under way")
            return
        self._at(item.at_us)
        self._close(wait, WaitStatus.ELAPSED)
        key = item.step_key
        match item.status:
            case StepStatus.COMPLETED:
                self._note(RunReason.MESSAGE_SENT, key)
                self._leave(key, Branch.NEXT)
            case StepStatus.SKIPPED if item.reason is not None:
                self._moved = True
                self._walk(self._skipped(key, item.reason, config.on_skipped, item.detail))
            case StepStatus.FAILED:
                self._note(RunReason.MESSAGE_FAILED, key, detail=item.detail)
                self._failed(key, config.on_failed, item.detail)
            case _:
                message = f"a message cannot finish as {item.status}, or not without a reason"
                raise ValueError(message)

    def _skipped(
        self, key: str, reason: RunReason, on_skipped: NextOrExit, detail: str = ""
    ) -> str | None:
        """End a send without a message; returns the key of the next step."""
        self._note(reason, key, detail=detail)
        if on_skipped is NextOrExit.EXIT:
            self._finish_step(key, StepStatus.SKIPPED, reason=reason)
            self._end(RunStatus.EXITED, RunReason.EXIT_RULE, detail="on_skipped is exit")
            return None
        connected = self._version.graph.target(key, Branch.SKIPPED) is not None
        branch = Branch.SKIPPED if connected else Branch.NEXT
        return self._next(key, branch, StepStatus.SKIPPED, reason=reason)

    def _failed(self, key: str, on_failed: OnFailed, detail: str) -> None:
        """A connected branch is taken; else `on_failed` decides."""
        reason = RunReason.STEP_FAILED
        if self._version.graph.target(key, Branch.FAILED) is not None:
            self._leave(key, Branch.FAILED, StepStatus.FAILED, reason=reason)
        elif on_failed is OnFailed.NEXT:
            self._leave(key, Branch.NEXT, StepStatus.FAILED, reason=reason)
        else:
            self._fail(key, detail)

    def _fail(self, key: str, detail: str) -> None:
        self._finish_step(key, StepStatus.FAILED, reason=RunReason.STEP_FAILED)
        self._end(RunStatus.FAILED, RunReason.STEP_FAILED, detail=detail)

    def _message_deferred(self, item: MessageDeferred) -> None:
        wait = self._message_wait(item.step_key)
        if wait is None:
            self._note(RunReason.NOTHING_TO_DO, detail="no message of this step is under way")
            return
        self._put(wait, held_until_us=item.until_us)
        status = StepStatus.RETRYING if item.reason is None else StepStatus.DEFERRED
        self._change(item.step_key, status=status, reason=item.reason)
        until = f"until {to_text(item.until_us)}"
        self._note(item.reason or RunReason.MESSAGE_FAILED, item.step_key, detail=until)

    def _message_wait(self, key: str) -> Wait | None:
        wait = self._run.open_wait
        waits_for_it = wait is not None and wait.kind is WaitKind.MESSAGE and wait.step_key == key
        return wait if waits_for_it else None

    def _retry(self, item: Retry) -> None:
        """Repeat the failed step, with the same ids.

        A run that is open was stopped because an input could not be applied: its timer is still
        due, and events that came in the meantime are read.
        """
        if self._run.is_open:
            self._note(RunReason.RETRIED, self._run.at_step)
            self._wants_look_back = True
            return
        record = self._run.record(self._run.at_step or "")
        if self._run.status is not RunStatus.FAILED or record is None:
            self._note(RunReason.NOTHING_TO_DO, detail=f"the run is {self._run.status}")
            return
        self._at(item.at_us)
        waits = tuple(
            msgspec.structs.replace(wait, status=WaitStatus.WAITING, ended_us=None)
            if wait.kind is WaitKind.EXIT and wait.status is WaitStatus.CANCELLED
            else wait
            for wait in self._run.waits
        )
        self._replace(status=RunStatus.RUNNING, reason=None, finished_us=None, waits=waits)
        self._wants_look_back = self._has_exits()
        if item.from_step is not None and item.from_step != record.key:
            self._note(RunReason.RETRIED, item.from_step)
            self._walk(item.from_step)
            return
        self._change(
            record.key,
            status=StepStatus.RUNNING,
            reason=None,
            finished_us=None,
            attempts=record.attempts + 1,
        )
        self._note(RunReason.RETRIED, record.key)
        step = self._version.step(record.key)
        after = self._perform(step)
        if after is not None:
            self._walk(after)

    def _continue(self) -> None:
        key = self._run.at_step
        if self._run.status is not RunStatus.RUNNING or key is None:
            self._note(RunReason.NOTHING_TO_DO, detail=f"the run is {self._run.status}")
            return
        self._wants_look_back = self._has_exits()
        self._walk(key)

    def _contact_changed(self) -> None:
        """Move the end of a delay that depends on the zone, or on a field, of the contact."""
        wait = self._run.open_wait
        zone = contact_zone(self._view)
        if wait is None or wait.zone is None:
            return
        config = self._version.step(wait.step_key or "").config
        if not isinstance(config, DelayConfig) or wait.due_us is None:
            return
        due = delay_due(
            config, wait.started_us, zone, self._field(config), self._seed(wait.step_key or "")
        )
        if due.at_us is not None and due.at_us != wait.due_us:
            self._put(wait, zone=zone, due_us=due.at_us)
            detail = f"it is now {to_text(due.at_us)}"
            self._note(RunReason.DELAY_MOVED, wait.step_key, detail=detail)

    # Steps.

    def _walk(self, key: str | None) -> None:
        """Take steps until one has to wait or the run ends; at most the number of steps."""
        while key is not None and self._run.is_open:
            step = self._version.step(key)
            if step.type is None or self._run.record(key) is not None:
                message = f"step {key} of run {self._run.id} cannot be taken"
                raise ValueError(message)
            record = StepRecord(key=key, type=step.type, started_us=self._run.at_us)
            self._replace(status=RunStatus.RUNNING, at_step=key, steps=(*self._run.steps, record))
            key = self._perform(step)

    def _perform(self, step: Step) -> str | None:
        """Do one step; returns the key of the next one, None when the run waits or has ended."""
        match step.config:
            case DelayConfig():
                return self._delay(step.key, step.config)
            case ConditionConfig():
                return self._condition(step.key, step.config)
            case WaitConfig():
                self._wait(step.key, step.config)
            case EmailConfig() | PushConfig():
                return self._send(step.key, step.config)
            case _:
                return self._act(step)
        return None

    def _delay(self, key: str, config: DelayConfig) -> str | None:
        zone = contact_zone(self._view)
        due = delay_due(config, self._run.at_us, zone, self._field(config), self._seed(key))
        if due.at_us is None:
            reason = RunReason.DATE_MISSING if due.was_missing else RunReason.DATE_PAST
            self._note(reason, key)
            if due.instead is NextOrExit.EXIT:
                self._finish_step(key, StepStatus.COMPLETED, reason=reason)
                self._end(RunStatus.EXITED, RunReason.EXIT_RULE, detail=f"{reason}, set to exit")
                return None
            return self._next(key, Branch.NEXT, reason=reason)
        self._open(
            Wait(
                id=self._wait_id(key),
                kind=WaitKind.DELAY,
                step_key=key,
                started_us=self._run.at_us,
                due_us=due.at_us,
                zone=zone if depends_on_contact_zone(config) else None,
            )
        )
        self._note(RunReason.DELAY_BEGUN, key, detail=f"it ends at {to_text(due.at_us)}")
        return None

    def _condition(self, key: str, config: ConditionConfig) -> str | None:
        seen = facts(self._run.trigger, self._run, self._view, self._run.at_us)
        branch, evidence = config.otherwise, None
        for case in config.cases:
            verdict = evaluate(case.filters, seen)
            evidence = verdict.evidence or evidence
            if verdict.holds:
                branch, evidence = case.branch, verdict.evidence
                break
        why = f"; {evidence.sentence}" if evidence is not None else ""
        self._note(RunReason.BRANCH_TAKEN, key, detail=f"branch {branch}{why}", evidence=evidence)
        return self._next(key, branch, evidence=evidence)

    def _wait(self, key: str, config: WaitConfig) -> None:
        days = self._view.policies.wait_max_days
        seconds = config.timeout_seconds or days * _DAY_S
        awaited = tuple(
            await_event(wanted, config.look_back, self._run, self._sender(config, wanted))
            for wanted in config.alternatives
        )
        due_us = self._run.at_us + seconds * _SECOND_US
        self._open(
            Wait(
                id=self._wait_id(key),
                kind=WaitKind.EVENT,
                step_key=key,
                started_us=self._run.at_us,
                due_us=due_us,
                awaited=awaited,
            )
        )
        names = " or ".join(dict.fromkeys(each.event_name for each in awaited))
        self._note(RunReason.WAIT_BEGUN, key, detail=f"for {names}, until {to_text(due_us)}")
        for each in awaited:
            if each.correlation_missing:
                self._note(RunReason.CORRELATION_MISSING, key, detail=each.event_name)
        self._wants_look_back = True

    def _sender(self, config: WaitConfig, wanted: Alternative) -> str | None:
        """The step whose message counts: the one named, else the last of its channel."""
        channel = channel_of(wanted.event_name)
        if config.message_from is not None:
            return config.message_from
        sends = (record.key for record in reversed(self._run.steps) if record.type is channel)
        return next(sends, None)

    def _send(self, key: str, config: EmailConfig | PushConfig) -> str | None:
        skip_us = self._view.skip_sends_before_us
        if skip_us is not None and self._run.at_us < skip_us:
            return self._skipped(key, RunReason.OVERDUE, config.on_skipped)
        variables = {name: value_of(source, self._find) for name, source in config.variables}
        known = {name: value for name, value in variables.items() if not is_missing(value)}
        self._effects.append(
            SendMessage(id=self._id(key), step_key=key, config=config, variables=known)
        )
        self._open(
            Wait(
                id=self._wait_id(key),
                kind=WaitKind.MESSAGE,
                step_key=key,
                started_us=self._run.at_us,
            )
        )
        self._note(RunReason.MESSAGE_QUEUED, key)
        return None

    def _act(self, step: Step) -> str | None:
        action = act(step, self._id(step.key), self._view, self._find, self._run.depth)
        self._view = action.view
        if action.status is StepStatus.FAILED:
            self._fail(step.key, action.detail)
            return None
        self._note(action.reason, step.key, detail=action.detail)
        skipped = action.status is StepStatus.SKIPPED
        if action.effect is not None:
            self._effects.append(action.effect)
        key = self._next(
            step.key, Branch.NEXT, action.status, reason=action.reason if skipped else None
        )
        if isinstance(action.effect, UpdateContact) and action.effect.identifiers and key:
            # Whether the identifier is free is known only once the effect is performed.
            self._replace(at_step=key)
            self._again = True
            return None
        return key

    # Transitions.

    def _leave(
        self,
        key: str,
        branch: str,
        status: StepStatus = StepStatus.COMPLETED,
        *,
        reason: RunReason | None = None,
    ) -> None:
        """End the step that the run was at, and continue."""
        self._moved = True
        self._walk(self._next(key, branch, status, reason=reason))

    def _next(
        self,
        key: str,
        branch: str,
        status: StepStatus = StepStatus.COMPLETED,
        *,
        reason: RunReason | None = None,
        evidence: Evidence | None = None,
    ) -> str | None:
        """End a step by a branch; returns the next key. Without one the run is completed."""
        self._finish_step(key, status, branch=branch, reason=reason, evidence=evidence)
        target = self._version.graph.target(key, branch)
        if target is None:
            self._end(RunStatus.COMPLETED, RunReason.END_OF_BRANCH)
        return target

    def _end(self, status: RunStatus, reason: RunReason, *, detail: str = "") -> None:
        """End the run: its current step and all its waits are cancelled."""
        self._moved = True
        wait = self._run.open_wait
        if wait is not None and wait.step_key is not None:
            if wait.kind is WaitKind.MESSAGE:
                cancel = CancelMessage(id=self._id(wait.step_key), step_key=wait.step_key)
                self._effects.append(cancel)
            self._finish_step(wait.step_key, StepStatus.CANCELLED, reason=reason)
        waits = tuple(
            msgspec.structs.replace(each, status=WaitStatus.CANCELLED, ended_us=self._run.at_us)
            if each.status is WaitStatus.WAITING
            else each
            for each in self._run.waits
        )
        self._replace(
            status=status,
            reason=reason,
            outcome=self._outcome() if status is RunStatus.COMPLETED else None,
            waits=waits,
            exit_pending=False,
            finished_us=self._run.at_us,
        )
        self._note(reason, self._run.at_step, detail=detail)

    def _outcome(self) -> Outcome:
        records = self._run.steps
        if any(record.status is StepStatus.FAILED for record in records):
            return Outcome.WITH_FAILURES
        skipped = (record for record in records if record.status is StepStatus.SKIPPED)
        # A change that was already in effect is not worth a note.
        lost = any(record.reason is not RunReason.ALREADY_SO for record in skipped)
        return Outcome.WITH_SKIPS if lost else Outcome.CLEAN

    def _look_back(self) -> LookBackRequest | None:
        """Events to read: for a wait that has begun, and for exit rules."""
        if not self._wants_look_back or not self._run.is_open or self._again:
            return None
        wait = self._run.open_wait
        open_waits = [each for each in self._run.waits if each.status is WaitStatus.WAITING]
        awaited = [
            each
            for one in open_waits
            if one.kind is WaitKind.EXIT or (one is wait and one.kind is WaitKind.EVENT)
            for each in one.awaited
            if not each.correlation_missing
        ]
        if not awaited:
            return None
        return LookBackRequest(
            names=frozenset(each.event_name for each in awaited),
            since=min(each.since for each in awaited),
        )

    # Records.

    def _replace(self, **changes: object) -> None:
        self._run = msgspec.structs.replace(self._run, **changes)

    def _at(self, at_us: int) -> None:
        """Time only moves forward: an earlier input has been waiting for the run."""
        self._replace(at_us=max(self._run.at_us, at_us))

    def _open(self, wait: Wait) -> None:
        """Wait. The wait of a retried step is opened again."""
        others = tuple(each for each in self._run.waits if each.id != wait.id)
        self._replace(status=RunStatus.WAITING, waits=(*others, wait))
        self._change(wait.step_key or "", status=StepStatus.WAITING)

    def _close(
        self,
        wait: Wait,
        status: WaitStatus,
        event: Event | None = None,
        found_by: FoundBy | None = None,
    ) -> None:
        self._put(
            wait,
            status=status,
            ended_us=self._run.at_us,
            event_sequence=None if event is None else event.sequence,
            found_by=found_by,
            held_until_us=None,
        )

    def _put(self, wait: Wait, **changes: object) -> None:
        changed = msgspec.structs.replace(wait, **changes)
        waits = tuple(changed if each.id == wait.id else each for each in self._run.waits)
        self._replace(waits=waits)

    def _change(self, key: str, **changes: object) -> None:
        steps = tuple(
            msgspec.structs.replace(record, **changes) if record.key == key else record
            for record in self._run.steps
        )
        self._replace(steps=steps)

    def _finish_step(
        self,
        key: str,
        status: StepStatus,
        *,
        branch: str | None = None,
        reason: RunReason | None = None,
        evidence: Evidence | None = None,
    ) -> None:
        self._change(
            key,
            status=status,
            branch=branch,
            reason=reason,
            evidence=evidence,
            finished_us=self._run.at_us,
        )

    def _note(
        self,
        reason: RunReason,
        key: str | None = None,
        *,
        detail: str = "",
        evidence: Evidence | None = None,
    ) -> None:
        self._notes.append(explain(reason, self._run.at_us, key, detail=detail, evidence=evidence))

    def _has_exits(self) -> bool:
        return any(
            wait.kind is WaitKind.EXIT and wait.status is WaitStatus.WAITING
            for wait in self._run.waits
        )

    def _find(self, path: Path) -> Value:
        return look_up(path, self._run.trigger, self._run, self._view)

    def _field(self, config: DelayConfig) -> Value:
        until = config.until_field
        return MISSING if until is None else self._find(until.field)

    def _seed(self, key: str) -> str:
        return f"{self._run.id}/{key}"

    def _id(self, *parts: str) -> str:
        return stable_id(self._run.id, *parts)

    def _wait_id(self, key: str) -> str:
        return self._id("wait", key)


def _is_late(wait: Wait, event: Event) -> bool:
    """Whether the timer of a wait was due when the event was received."""
    return wait.due_us is not None and event.received_us >= wait.due_us
