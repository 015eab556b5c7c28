"""Why an event started no run, and why a run sent no mail: closed lists of verdicts."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from headrace.domain.automations.definition.model import MessageConfig, Step
from headrace.domain.automations.filters.evaluation import Evidence
from headrace.domain.automations.running.reasons import RunReason, explain
from headrace.domain.automations.running.runs import Run
from headrace.domain.automations.running.version import Version


class StartVerdict(StrEnum):
    """What became of an event for one automation."""

    STARTED = "started"
    FILTER_NOT_MET = "filter_not_met"
    NOT_ACTIVE = "not_active"
    PAUSED = "paused"
    TOO_OLD = "too_old"
    IMPORTED = "imported"
    NO_CONTACT = "no_contact"
    REENTRY_ONCE = "reentry_once"
    REENTRY_ACTIVE = "reentry_active"
    REENTRY_COOLDOWN = "reentry_cooldown"
    START_LIMIT = "start_limit"
    TOO_MANY_OPEN = "too_many_open"
    LOOP = "loop"
    ERASED = "erased"
    #: The event waits to be processed, or its processing has failed.
    NOT_PROCESSED = "not_processed"
    #: The runner has not read it yet.
    IN_INBOX = "in_inbox"
    #: The runner has given it up after errors.
    INBOX_FAILED = "inbox_failed"
    #: The version of that time starts with another event.
    ANOTHER_EVENT = "another_event"
    #: Nothing prevents a start now, and what was decided then is not kept.
    NO_RECORD = "no_record"


class Basis(StrEnum):
    """Where a verdict comes from."""

    #: It was stored when it was decided.
    RECORDED = "recorded"
    #: Evaluated again, with the contact as it is now.
    EVALUATED_NOW = "evaluated_now"


class StartExplained(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an event for one automation, and why."""

    verdict: StartVerdict
    basis: Basis
    #: In plain English, without values of events or contacts.
    sentence: str
    #: Number of the version that decided; None: there was none.
    version: int | None = None
    run_id: str | None = None
    #: The comparison that decided.
    evidence: Evidence | None = None


class SendVerdict(StrEnum):
    """What became of a send step in one run."""

    #: Its message exists, or the step has ended without one.
    REACHED = "reached"
    #: The run is open and may still come to the step.
    NOT_YET = "not_yet"
    #: The run has taken another branch.
    OTHER_BRANCH = "other_branch"
    #: The run ended before.
    RUN_ENDED = "run_ended"


class SendExplained(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a send step in one run, and why."""

    step_key: str
    verdict: SendVerdict
    sentence: str


def recorded(reason: RunReason, sentence: str, version: int) -> StartExplained:
    """The verdict of a rejected start."""
    return StartExplained(
        verdict=StartVerdict(reason.value),
        basis=Basis.RECORDED,
        sentence=sentence,
        version=version,
    )


def send_steps(version: Version) -> tuple[Step, ...]:
    """Steps that send messages, in the order of the definition."""
    return tuple(
        step for step in version.definition.steps if isinstance(step.config, MessageConfig)
    )


def explain_send(version: Version, run: Run, key: str) -> SendExplained:
    """Why a run has reached a send step, or has not."""
    record = run.record(key)
    if record is not None:
        sentence = "The run has reached this step."
        if record.reason is not None:
            sentence = explain(record.reason, record.started_us).sentence
        return SendExplained(step_key=key, verdict=SendVerdict.REACHED, sentence=sentence)
    passed = [step.key for step in run.steps]
    if passed and key not in version.graph.reachable(passed[-1]):
        return SendExplained(
            step_key=key,
            verdict=SendVerdict.OTHER_BRANCH,
            sentence=_other_branch(version, run, key),
        )
    if run.is_open:
        at = f" It is at step {run.at_step}." if run.at_step else ""
        sentence = f"The run has not come to this step yet.{at}"
        return SendExplained(step_key=key, verdict=SendVerdict.NOT_YET, sentence=sentence)
    why = "" if run.reason is None else f" {explain(run.reason, run.at_us).sentence}"
    sentence = f"The run ended before this step.{why}"
    last = run.steps[-1] if run.steps else None
    if last is not None and run.reason is RunReason.END_OF_BRANCH and last.branch is not None:
        sentence = f"The run ended at step {last.key}, whose branch {last.branch} leads nowhere."
        return SendExplained(step_key=key, verdict=SendVerdict.OTHER_BRANCH, sentence=sentence)
    return SendExplained(step_key=key, verdict=SendVerdict.RUN_ENDED, sentence=sentence)


def _other_branch(version: Version, run: Run, key: str) -> str:
    """Name the step at which the run has left the ways to `key`."""
    for step in run.steps:
        target = version.graph.target(step.key, step.branch or "")
        still = target is not None and (target == key or key in version.graph.reachable(target))
        if step.branch is not None and not still:
            return f"The run took branch {step.branch} of step {step.key}."
    return "The run took another branch."
