"""Dead letters and their replays, in verbs of the domain.

A dead letter is open until it is replayed or discarded, once; both are compare-and-set on its
state, so the second of two changes nothing. A replay makes no new event and no new delivery: it
puts the one that failed back into its queue.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

import msgspec

from headrace.store.contract.resends import ResendFilter

#: Dead letters that one page, or one step of a count, examines.
EXAMINED_MAX = 20_000
#: Newest dead letters of a project from which its groups are made.
GROUPED_MAX = 1_000_000
#: Different groups that are kept.
GROUPS_MAX = 10_000
#: Dead letters that a dry run shows.
#: Dead letters of a replay whose outcome is counted; the oldest ones.
OUTCOMES_COUNTED_MAX = 100_000
SAMPLE_MAX = 10
#: Replays of one project that may run at once.
RUNNING_MAX = 10
#: Ended replays of one project that are kept.
REPLAYS_KEPT = 1000
#: How long ended replays are kept, the newest ones included.
REPLAYS_KEPT_US = 366 * 24 * 3600 * 1_000_000


class DeadLetterKind(StrEnum):
    """What failed."""

    #: The event itself; nothing was delivered.
    PROCESSING = "processing"
    #: One delivery; the event is processed, and other deliveries are not affected.
    DELIVERY = "delivery"
    #: A run of an automation, or an event that could not be applied to runs; the event is
    #: processed, and deliveries are not affected.
    AUTOMATION = "automation"


class DeadLetterState(IntEnum):
    """Where a dead letter is; stored as its number.

    The worker inserts it open; a replay or a discard closes it for good. A failure after a replay
    is a new dead letter.
    """

    OPEN = 0
    REPLAYED = 1
    DISCARDED = 2


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One dead letter."""

    #: Order of dead-lettering in the store.
    number: int
    #: UUID text.
    id: str
    event_id: bytes
    event: str
    kind: DeadLetterKind
    #: Set for a delivery only.
    subscriber_id: str | None
    cause: str
    error: str
    #: Attempts of the run that ended with it.
    attempts: int
    first_failed_us: int
    dead_lettered_us: int
    state: DeadLetterState
    #: The run that failed; None also for an event that could not be applied to runs.
    run_id: str | None = None


class DeadLetterFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which dead letters are meant; every field that is set must match."""

    event: str | None = None
    subscriber_id: str | None = None
    cause: str | None = None
    kind: DeadLetterKind | None = None


class DeadLetterPage(msgspec.Struct, frozen=True):
    """Some open dead letters, newest first.

    `next_before` is the number to continue below, None at the end. A page can hold fewer than asked
    for and still have a next one: a rare value is searched in bounded steps.
    """

    dead_letters: list[DeadLetter]
    next_before: int | None


class DeadLetterGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Open dead letters with the same kind of failure."""

    kind: DeadLetterKind
    subscriber_id: str | None
    cause: str
    event: str
    count: int
    #: When the first and the last of them was dead-lettered.
    first_us: int
    last_us: int


class Closing(StrEnum):
    """Outcome of a request to replay or discard a dead letter; a closed list."""

    DONE = "done"
    NOT_FOUND = "not_found"
    #: It was replayed or discarded before.
    CLOSED_BEFORE = "closed_before"
    #: The event, delivery or run does not wait for a replay, or is removed.
    NOTHING_TO_REPLAY = "nothing_to_replay"
    #: The subscriber was deleted: the delivery has no recipient.
    SUBSCRIBER_DELETED = "subscriber_deleted"
    #: The subscriber has to be enabled first.
    SUBSCRIBER_DISABLED = "subscriber_disabled"


class Closed(msgspec.Struct, frozen=True):
    """Outcome of one replay or discard."""

    closing: Closing
    #: Its current state; None when there is none.
    dead_letter: DeadLetter | None


class ReplayStatus(StrEnum):
    """Status of a replay of many: `create` sets running, the replayer done, `stop` stopped."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """A replay of many dead letters, or a job that sends events to a webhook again."""

    number: int
    id: str
    project_id: int
    wanted: DeadLetterFilter
    per_second: int
    #: Dead letters or events that matched when it was created.
    total: int
    #: Those that it has replayed or queued again. Fewer than `total` at the end when others have
    #: closed some, or some have no enabled subscriber; the latter stay open.
    done: int
    status: ReplayStatus
    actor: str
    created_us: int
    updated_us: int
    #: None for a replay of dead letters; then `wanted` says which.
    resend: ResendFilter | None = None


class ReplayOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of what a replay has replayed, by its present state."""

    succeeded: int
    #: Dead letters again.
    failed_again: int
    #: Not decided yet.
    pending: int


class NewReplay(msgspec.Struct, frozen=True, kw_only=True):
    """A replay to be created."""

    id: str
    project_id: int
    wanted: DeadLetterFilter
    per_second: int
    #: The two numbers that `DeadLetters.count` returned. What is dead-lettered later, also after a
    #: repeated failure, is not part of the replay.
    total: int
    last_number: int
    actor: str
    #: Set for a job that sends events again; then `position`, `total` and `last_number` are those
    #: of its `ResendCount`.
    resend: ResendFilter | None = None
    position: int = 0


class TooManyReplaysError(Exception):
    """`RUNNING_MAX` replays of the project run already."""
