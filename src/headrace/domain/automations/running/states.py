"""States of runs, steps and waits."""

from __future__ import annotations

from enum import StrEnum


class RunStatus(StrEnum):
    """`running` is left within one decision, except for a run whose contact has to be read again.

    running -> waiting <-> running -> completed, failed, cancelled or exited. `failed` -> running
    by a retry; the other three are final.
    """

    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXITED = "exited"


OPEN_RUNS = frozenset({RunStatus.RUNNING, RunStatus.WAITING})


class Outcome(StrEnum):
    """How a completed run went."""

    CLEAN = "clean"
    WITH_SKIPS = "with_skips"
    WITH_FAILURES = "with_failures"


class StepStatus(StrEnum):
    """`deferred` and `retrying` are set by what the outbox reports, all else by the run."""

    RUNNING = "running"
    WAITING = "waiting"
    DEFERRED = "deferred"
    RETRYING = "retrying"
    COMPLETED = "completed"
    SKIPPED = "skipped"
    FAILED = "failed"
    CANCELLED = "cancelled"


class WaitKind(StrEnum):
    """Why a run waits; an exit rule waits in parallel for as long as the run is open."""

    DELAY = "delay"
    EVENT = "event"
    MESSAGE = "message"
    EXIT = "exit"


class WaitStatus(StrEnum):
    """How a wait ended; those that are open when their run ends are `cancelled`."""

    WAITING = "waiting"
    RECEIVED = "received"
    TIMED_OUT = "timed_out"
    #: A delay is over, or a message is finished.
    ELAPSED = "elapsed"
    CANCELLED = "cancelled"


class FoundBy(StrEnum):
    """How an event reached the wait that it resumed."""

    LOOK_BACK = "look_back"
    ARRIVAL = "arrival"
