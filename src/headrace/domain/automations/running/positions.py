"""Where a run may be put: no step is ever taken twice."""

from __future__ import annotations

from headrace.domain.automations.running.runs import Run
from headrace.domain.automations.running.version import Version


def taken_again(run: Run, version: Version, key: str) -> frozenset[str]:
    """Steps that the run has taken, except the one it is at, and might take again from a step."""
    taken = {record.key for record in run.steps} - {run.at_step}
    return (version.graph.reachable(key) | {key}) & taken


def retry_problem(run: Run, version: Version, from_step: str | None) -> str | None:
    """Why a failed run cannot be retried from a step; None when it can."""
    if from_step is None or from_step == run.at_step:
        return None
    if from_step not in version.graph.steps:
        return f"version {version.number} has no step {from_step}"
    if run.is_open:
        return "the run can only be retried at the step that failed"
    taken = taken_again(run, version, from_step)
    if taken:
        return f"the run has taken step {min(taken)}, which follows, and would take it again"
    return None
