"""A definition as its author wrote it, checked, typed and immutable."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from headrace.domain.automations.filters.model import ALWAYS, Filter
from headrace.domain.automations.filters.paths import Path
from headrace.domain.automations.filters.values import Value
from headrace.domain.automations.limits import MAX_AGE_SECONDS

TRIGGER = "trigger"


class StepType(StrEnum):
    """What a step does."""

    DELAY = "delay"
    CONDITION = "condition"
    WAIT_FOR_EVENT = "wait_for_event"
    SEND_EMAIL = "send_email_template"
    SEND_PUSH = "send_push_template"
    CONTACT_UPDATE = "contact_update"
    ADD_TO_AUDIENCE = "add_to_audience"
    REMOVE_FROM_AUDIENCE = "remove_from_audience"
    SET_TOPIC_SUBSCRIPTION = "set_topic_subscription"
    EMIT_EVENT = "emit_event"


class Branch(StrEnum):
    """Branches with a name of the language; others are named by the author."""

    NEXT = "next"
    TRUE = "true"
    FALSE = "false"
    OTHERWISE = "otherwise"
    RECEIVED = "received"
    TIMED_OUT = "timed_out"
    SKIPPED = "skipped"
    FAILED = "failed"


class ReentryMode(StrEnum):
    """When a contact may begin again."""

    EVERY_EVENT = "every_event"
    ONE_ACTIVE = "one_active"
    ONCE_PER = "once_per"
    ONCE = "once"


class MessageKind(StrEnum):
    """Which rules a message obeys."""

    MARKETING = "marketing"
    TRANSACTIONAL = "transactional"


class UnknownOutcome(StrEnum):
    """How to treat a message when it is unknown whether it was sent."""

    HOLD = "hold"
    RETRY = "retry"


class Urgency(StrEnum):
    """Of a push message, as RFC 8030 has it."""

    VERY_LOW = "very-low"
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


class NextOrExit(StrEnum):
    """Whether a run continues or ends."""

    NEXT = "next"
    EXIT = "exit"


class OnFailed(StrEnum):
    """What a permanently failed message means for the run."""

    FAIL = "fail"
    NEXT = "next"


class LookBack(StrEnum):
    """How far before a wait its event may have happened; otherwise seconds."""

    RUN = "run"
    STEP = "step"


class Reentry(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a contact may begin again; `seconds` only with `once_per`."""

    mode: ReentryMode = ReentryMode.EVERY_EVENT
    seconds: int = 0
    key: Path | None = None


class Trigger(msgspec.Struct, frozen=True, kw_only=True):
    """The event that begins a run."""

    event_name: str
    filters: Filter = ALWAYS
    reentry: Reentry = Reentry()
    #: How old an event may be when it is received.
    max_age_seconds: int = MAX_AGE_SECONDS
    allow_imported: bool = False


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """A reference to an object of the project, by id or name; a published version has ids only."""

    id: str | None = None
    name: str | None = None


class Literal(msgspec.Struct, frozen=True):
    """A value written in the definition."""

    value: Value


#: Where a value comes from.
Source = Literal | Path


class Until(msgspec.Struct, frozen=True, kw_only=True):
    """The next time of day, at least some seconds from now."""

    hour: int
    minute: int
    #: Monday is 0; empty: any day.
    weekdays: frozenset[int] = frozenset()
    #: IANA name; None: that of the contact.
    timezone: str | None = None
    at_least_seconds: int = 0


class UntilField(msgspec.Struct, frozen=True, kw_only=True):
    """A time that a field holds, moved by an offset."""

    field: Path
    offset_seconds: int = 0
    if_past: NextOrExit = NextOrExit.NEXT
    if_missing: NextOrExit = NextOrExit.NEXT


class DelayConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds, or a time: exactly one of the three."""

    seconds: int | None = None
    until: Until | None = None
    until_field: UntilField | None = None
    spread_seconds: int = 0


class Case(msgspec.Struct, frozen=True):
    """A branch of a condition and when it is taken."""

    branch: str
    filters: Filter


class ConditionConfig(msgspec.Struct, frozen=True):
    """The first case that holds decides, else `otherwise`."""

    cases: tuple[Case, ...]
    otherwise: str


#: What must be equal: a path in the event, and one in what the run knows.
Correlation = tuple[tuple[Path, Path], ...]


class Alternative(msgspec.Struct, frozen=True, kw_only=True):
    """An event that a wait, or an exit rule, is after."""

    event_name: str
    filters: Filter = ALWAYS
    correlate: Correlation = ()
    branch: str = Branch.RECEIVED


class WaitConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The first of the alternatives that comes decides the branch."""

    alternatives: tuple[Alternative, ...]
    #: None: as long as the project's policy allows.
    timeout_seconds: int | None = None
    #: Key of the step whose message an engagement event must be about.
    message_from: str | None = None
    look_back: LookBack | int = LookBack.RUN
    include_machine: bool = False


class MessageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What sends of both channels have in common."""

    template: Reference
    topic: Reference | None = None
    kind: MessageKind = MessageKind.MARKETING
    variables: tuple[tuple[str, Source], ...] = ()
    on_skipped: NextOrExit = NextOrExit.NEXT
    on_failed: OnFailed = OnFailed.FAIL


class EmailConfig(MessageConfig, frozen=True, kw_only=True):
    """A mail from a template; None leaves it to template, domain or policy."""

    domain: Reference
    from_address: str | None = None
    from_name: str | None = None
    reply_to: str | None = None
    track_opens: bool | None = None
    track_clicks: bool | None = None
    unknown_outcome: UnknownOutcome | None = None


class PushConfig(MessageConfig, frozen=True, kw_only=True):
    """A push message to each device of the contact."""

    app: Reference
    ttl_seconds: int = 86_400
    urgency: Urgency = Urgency.NORMAL


class ContactUpdateConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Fields `email`, `external_id` and `properties.<name>`."""

    set: tuple[tuple[str, Source], ...] = ()
    unset: tuple[str, ...] = ()


class AudienceConfig(msgspec.Struct, frozen=True):
    """The audience that the contact enters or leaves."""

    audience: Reference


class TopicConfig(msgspec.Struct, frozen=True):
    """The subscription that the contact gets."""

    topic: Reference
    is_subscribed: bool


class EmitConfig(msgspec.Struct, frozen=True):
    """A customer event about the same contact."""

    event_name: str
    payload: tuple[tuple[str, Source], ...] = ()


Config = (
    DelayConfig
    | ConditionConfig
    | WaitConfig
    | EmailConfig
    | PushConfig
    | ContactUpdateConfig
    | AudienceConfig
    | TopicConfig
    | EmitConfig
)


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One node of the graph. `type` and `config` are None where they could not be read."""

    key: str
    type: StepType | None
    config: Config | None
    #: Place in the list, for paths of problems.
    index: int

    @property
    def branches(self) -> tuple[str, ...]:
        """Branches that always exist, in the order in which they are best read."""
        match self.config:
            case ConditionConfig(cases, otherwise):
                return (*(case.branch for case in cases), otherwise)
            case WaitConfig():
                named = (each.branch for each in self.config.alternatives)
                return (*dict.fromkeys(named), Branch.TIMED_OUT)
        return (Branch.NEXT,)

    @property
    def optional_branches(self) -> tuple[str, ...]:
        """Branches that exist only if they are connected."""
        if isinstance(self.config, MessageConfig):
            return (Branch.SKIPPED, Branch.FAILED)
        return ()


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """Where a branch of a step leads."""

    source: str
    target: str
    branch: str
    index: int


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """A whole automation."""

    trigger: Trigger
    steps: tuple[Step, ...]
    connections: tuple[Connection, ...] = ()
    exit_on: tuple[Alternative, ...] = ()
