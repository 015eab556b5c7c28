"""Types of automations for the pipeline and the edges. Times are microseconds since 1970 UTC."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from headrace.domain.automations.running.reasons import RunReason
from headrace.domain.automations.running.runs import Run
from headrace.domain.automations.running.starting import AutomationStatus
from headrace.domain.automations.running.states import Outcome, RunStatus
from headrace.store.contract.messages import Message

#: Automations of a project, archived ones included.
AUTOMATIONS_MAX = 1000
VERSIONS_MAX = 1000
#: Notes that are kept of one run; further ones are dropped.
NOTES_MAX = 2000
#: Attempts at one input before it is given up.
ATTEMPTS_MAX = 5
#: Runs that one request cancels or retries.
BULK_RUNS_MAX = 1000
#: Runs that a preview counts, and shows.
BULK_COUNTED_MAX = 100_000
BULK_SAMPLE_MAX = 10
#: Added to the time of runs that their automation holds: 2^61, beyond every time.
PARKED_US = 2_305_843_009_213_693_952


class PauseMode(StrEnum):
    """What happens to open runs when an automation is paused."""

    #: They go on to their end.
    DRAIN = "drain"
    #: They stand still when they are due, and their queued messages are not sent.
    HOLD = "hold"
    #: They are cancelled.
    CANCEL = "cancel"


class Automation(msgspec.Struct, frozen=True, kw_only=True):
    """A draft with its published versions."""

    id: str
    project_id: int
    name: str
    description: str
    status: AutomationStatus
    #: JSON of the definition, as its author wrote it.
    draft: str
    draft_revision: int
    #: JSON; never read by the server.
    editor_layout: str | None
    #: Number of the newest version; 0: none was published.
    version: int
    #: Revision of the draft that was published last.
    version_revision: int
    created_us: int
    updated_us: int
    #: None unless it is paused.
    pause_mode: PauseMode | None = None

    @property
    def has_draft_changes(self) -> bool:
        """Whether the draft differs from the newest version."""
        return self.draft_revision != self.version_revision


class AutomationVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A published version; it never changes."""

    automation_id: str
    number: int
    id: str
    #: JSON with names replaced by ids.
    definition: str
    sha256: str
    published_us: int
    published_by: str


class InboxEvent(msgspec.Struct, frozen=True, gc=False):
    """A processed event that may start or continue a run."""

    lane: int
    sequence: int
    project_id: int
    contact_id: str | None
    #: 1: it was applied to open runs already, and only starts wait.
    starts_only: int = 0


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """A run without its steps and waits."""

    id: str
    project_id: int
    automation_id: str
    version: int
    contact_id: str
    entry_key: str
    event_lane: int
    #: Of the event that started it.
    sequence: int
    status: RunStatus
    reason: RunReason | None
    outcome: Outcome | None
    at_step: str | None
    #: When the runner looks at it next; None: it has ended.
    due_us: int | None
    #: Failed attempts at what is due, and the last error.
    attempt: int
    error: str | None
    started_us: int
    finished_us: int | None


class NoteRow(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided in a run, and why."""

    number: int
    at_us: int
    reason: RunReason
    step_key: str | None
    sentence: str


class RunDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A run with everything that happened in it."""

    row: RunRow
    run: Run
    notes: Sequence[NoteRow]
    #: Id of its version.
    version_id: str | None = None
    #: Kind and value of the identifier in the event that started it; None: it is no longer kept.
    identity: tuple[str, str] | None = None
    #: Messages of its steps.
    messages: Sequence[Message] = ()


class RejectedStart(msgspec.Struct, frozen=True, kw_only=True):
    """An event that would have started a run but for a rule."""

    automation_id: str
    sequence: int
    version: int
    contact_id: str | None
    event_id: str
    reason: RunReason
    sentence: str
    at_us: int


class EntryRow(msgspec.Struct, frozen=True, kw_only=True):
    """When a contact last started a run, for one value of the re-entry key."""

    automation_id: str
    entry_key: str
    last_start_us: int
    starts: int


class RunFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which runs of an automation to list; None: any."""

    status: RunStatus | None = None
    contact_id: str | None = None
    version: int | None = None
    at_step: str | None = None
    started_before_us: int | None = None


class RunPage(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a list of runs."""

    rows: Sequence[RunRow]
    #: Start and id of the run after which the list goes on; None: it is at its end.
    following: tuple[int, str] | None


class StepStats(msgspec.Struct, frozen=True, kw_only=True):
    """What runs of one version did at one step."""

    step_key: str
    #: Open runs that are there now, of all open runs.
    waiting: int
    entered: int
    passed: int
    failed: int
    #: Messages that a relay or push service has taken.
    sent: int
    #: By reason.
    skipped: dict[str, int]


class VersionStats(msgspec.Struct, frozen=True, kw_only=True):
    """Runs of one version, by status and by step."""

    version: int
    runs: dict[str, int]
    steps: Sequence[StepStats]


class RunStats(msgspec.Struct, frozen=True, kw_only=True):
    """How the newest runs of an automation went, newest version first."""

    #: Runs that were read; `more`: older ones were not.
    examined: int
    more: bool
    versions: Sequence[VersionStats]


class Overdue(StrEnum):
    """What happens to held runs that are overdue when their automation is resumed."""

    RUN = "run"
    #: They go on, and skip the sends that they reach late.
    SKIP_SENDS = "skip_sends"
    CANCEL = "cancel"


class AutomationTask(StrEnum):
    """What the runner has to do to the open runs of an automation."""

    CANCEL = "cancel"
    RESUME = "resume"


class OverdueRuns(msgspec.Struct, frozen=True, kw_only=True):
    """Overdue runs at one step."""

    version: int
    at_step: str | None
    runs: int
    #: Steps that may send as soon as these runs go on.
    sends: tuple[str, ...]


class ResumePreview(msgspec.Struct, frozen=True, kw_only=True):
    """What is overdue in an automation that holds its runs."""

    #: Up to `BULK_COUNTED_MAX`; `more` says whether there are even more.
    runs: int
    more: bool
    #: Runs that may send something as soon as they go on.
    sends: int
    steps: Sequence[OverdueRuns]


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs move to another version, and where."""

    from_version: int
    to_version: int
    #: Old key to new one, of steps of the same type; None: steps of the same key and type.
    steps: dict[str, str] | None = None


class StepMove(msgspec.Struct, frozen=True, kw_only=True):
    """Open runs at one step."""

    step: str
    #: None: they stay in their version.
    to: str | None
    runs: int


class MigrationPreview(msgspec.Struct, frozen=True, kw_only=True):
    """What a migration would do; counts up to `BULK_COUNTED_MAX`."""

    steps: Sequence[StepMove]


class MigrationResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a migration has done."""

    moved: int
    stayed: int
    #: Whether there are more runs than one request moves.
    has_more: bool


class RunAction(StrEnum):
    """What people do to runs."""

    CANCEL = "cancel"
    RETRY = "retry"


class BulkPreview(msgspec.Struct, frozen=True, kw_only=True):
    """What an action would do to many runs."""

    #: Up to `BULK_COUNTED_MAX`.
    count: int
    #: Whether there are even more.
    more: bool
    #: The oldest ones.
    sample: Sequence[RunRow]


class BulkResult(msgspec.Struct, frozen=True, kw_only=True):
    """What an action has done to many runs."""

    done: int
    #: Whether runs are left that match.
    has_more: bool


class Worked(msgspec.Struct, frozen=True, kw_only=True):
    """What one round of the runner did."""

    #: Events that were read from the inbox.
    events: int = 0
    #: Runs whose timer was due.
    timers: int = 0
    started: int = 0
    #: Events and timers that could not be applied; they are retried later.
    failed: int = 0


class Due(msgspec.Struct, frozen=True):
    """When the next event of the inbox and the next run are due; None: there is none."""

    event_us: int | None
    run_us: int | None
    #: Whether an operator has asked for something that is not done.
    has_tasks: bool = False

    @property
    def next_us(self) -> int | None:
        """When anything is due."""
        if self.has_tasks:
            return 0
        found = [each for each in (self.event_us, self.run_us) if each is not None]
        return min(found, default=None)
