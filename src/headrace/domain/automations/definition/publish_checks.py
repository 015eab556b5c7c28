"""Checks whether a definition can be published; finds all problems and warnings at once."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from headrace.domain.automations.definition.graph import Graph
from headrace.domain.automations.definition.model import (
    TRIGGER,
    Alternative,
    Branch,
    ConditionConfig,
    ContactUpdateConfig,
    Definition,
    DelayConfig,
    EmailConfig,
    EmitConfig,
    MessageConfig,
    MessageKind,
    NextOrExit,
    PushConfig,
    Reference,
    Step,
    StepType,
    UnknownOutcome,
    WaitConfig,
)
from headrace.domain.automations.definition.references import (
    ID_MEMBER,
    References,
    Referred,
    references_of,
)
from headrace.domain.automations.filters.model import Filter, comparisons
from headrace.domain.automations.filters.paths import MEMBERSHIPS, Path, Root, Subject
from headrace.domain.automations.problems import Code, Problem, Problems
from headrace.domain.errors import echo

_DAY_S = 86_400
_LONG_LOOK_BACK_S = 7 * _DAY_S
#: Hours of the night, at which marketing mail draws a warning.
_NIGHT_ENDS, _NIGHT_BEGINS = 7, 22

RUN_EVENTS = "sendrealm.automation."
MAIL_EVENTS = "sendrealm.mail."
PUSH_EVENTS = "sendrealm.push."
_OPENS = frozenset({"sendrealm.mail.open"})

#: Events about the contact that a step of each type causes.
_CAUSED = {
    StepType.CONTACT_UPDATE: ("sendrealm.contact.updated",),
    StepType.ADD_TO_AUDIENCE: ("sendrealm.audience.entered",),
    StepType.REMOVE_FROM_AUDIENCE: ("sendrealm.audience.exited",),
    StepType.SET_TOPIC_SUBSCRIPTION: ("sendrealm.topic.subscribed", "sendrealm.topic.unsubscribed"),
    StepType.SEND_EMAIL: ("sendrealm.mail.send", "sendrealm.mail.delivery"),
    StepType.SEND_PUSH: ("sendrealm.push.send", "sendrealm.push.delivery"),
}


class PublishRules(msgspec.Struct, frozen=True):
    """Policies of the project that limit what may be published."""

    wait_max_days: int = 365
    topicless_marketing: bool = False


class Report(msgspec.Struct, frozen=True):
    """`problems` stop a publish, `warnings` do not."""

    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def channel_of(event_name: str) -> StepType | None:
    """The type of the steps whose messages an event is about; None for all other events."""
    if event_name.startswith(MAIL_EVENTS):
        return StepType.SEND_EMAIL
    return StepType.SEND_PUSH if event_name.startswith(PUSH_EVENTS) else None


def check_for_publish(
    definition: Definition,
    field: str,
    problems: Problems,
    *,
    references: References | None = None,
    rules: PublishRules | None = None,
) -> Report:
    """Check everything that parsing could not.

    Args:
        definition: as it was read.
        field: its path in the document.
        problems: those of reading; more are added.
        references: what exists in the project; None skips those checks.
        rules: policies of the project; None: the defaults.
    """
    check = _Check(definition, field, problems, rules or PublishRules())
    check.connections()
    check.graph()
    for step in definition.steps:
        check.paths_of(step)
        check.config_of(step)
        if references is not None:
            check.references_of(step, references)
    check.exit_paths()
    if references is not None:
        check.memberships(references)
    check.warn(references)
    return Report(tuple(problems.found), tuple(check.warnings.found))


class _Check:
    def __init__(
        self, definition: Definition, field: str, problems: Problems, rules: PublishRules
    ) -> None:
        self._definition = definition
        self._prefix = f"{field}." if field else ""
        self._problems = problems
        self._rules = rules
        self._graph = Graph(definition)
        self._cycle = self._graph.cycle()
        self._upstream = {} if self._cycle else self._graph.upstream()
        self.warnings = Problems()

    def connections(self) -> None:
        """Each leads from an existing branch to a step, and no branch leads to two steps."""
        taken: dict[tuple[str, str], str] = {}
        for each in self._definition.connections:
            field = f"{self._prefix}connections[{each.index}]"
            self._known_step(each.source, "from", field)
            self._known_step(each.target, "to", field)
            key = (each.source, each.branch)
            self._known_branch(each.source, each.branch, f"{field}.branch")
            if key in taken:
                message = (
                    f"branch {echo(each.branch)} of {echo(each.source)} leads to "
                    f"{echo(taken[key])} already; a branch has one target"
                )
                self._add(Code.DUPLICATE_BRANCH, f"{field}.branch", message, each.source)
            taken[key] = each.target

    def _known_step(self, key: str, member: str, field: str) -> None:
        if key in self._graph.steps or (member == "from" and key == TRIGGER):
            return
        message = f"there is no step '{echo(key)}'"
        if key == TRIGGER:
            message = "a connection cannot lead to the trigger"
        self._add(Code.UNKNOWN_STEP, f"{field}.{member}", message)

    def _known_branch(self, source: str, branch: str, field: str) -> None:
        step = self._graph.steps.get(source)
        if step is None:
            allowed: tuple[str, ...] = (Branch.NEXT,)
            if source != TRIGGER:
                return
        else:
            allowed = (*step.branches, *step.optional_branches)
            if step.config is None:
                return
            message_step = isinstance(step.config, MessageConfig)
            if message_step and branch == Branch.SKIPPED and _exits_when_skipped(step):
                message = "on_skipped is exit, so the branch skipped is never taken"
                self._add(Code.BRANCH_NEVER_TAKEN, field, message, source)
        if branch not in allowed:
            message = (
                f"{echo(source)} has no branch '{echo(branch)}'; allowed are {', '.join(allowed)}"
            )
            self._add(Code.UNKNOWN_BRANCH, field, message, source)

    def graph(self) -> None:
        """The trigger is connected, every step is reachable, and there is no cycle."""
        if self._cycle:
            message = f"steps must not lead back to themselves: {' -> '.join(self._cycle)}"
            self._add(Code.CYCLE, f"{self._prefix}connections", message, self._cycle[0])
        if not self._definition.steps:
            return
        if self._graph.first is None:
            message = 'a connection must lead from "trigger" to the first step'
            self._add(Code.TRIGGER_NOT_CONNECTED, f"{self._prefix}connections", message)
            return
        reachable = self._graph.reachable()
        for step in self._definition.steps:
            if step.key not in reachable:
                message = f"there is no path from the trigger to step {step.key}"
                self._add(Code.UNREACHABLE_STEP, self._field(step), message, step.key)

    def paths_of(self, step: Step) -> None:
        """`steps.` paths name a step that comes before on every path and has the value."""
        for path in _paths(step):
            self._step_path(path, step, f"{self._field(step)}.config")
        if isinstance(step.config, WaitConfig):
            for each in step.config.alternatives:
                for _, right in each.correlate:
                    self._correlation(right, f"{self._field(step)}.config.correlate", step.key)
            self._message_from(step, step.config)

    def _step_path(self, path: Path, step: Step, field: str) -> None:
        key = path.step
        if key is None:
            return
        if key not in self._graph.steps:
            message = f"{echo(path.text)}: there is no step '{key}'"
            self._add(Code.UNKNOWN_STEP, field, message, step.key)
        elif step.key in self._upstream and key not in self._upstream[step.key]:
            message = f"{echo(path.text)}: step {key} is not on every path to this step"
            self._add(Code.NOT_UPSTREAM, field, message, step.key)
        else:
            problem = _lacks(self._graph.steps[key], path)
            if problem is not None:
                self._add(Code.INVALID_PATH, field, f"{echo(path.text)}: {problem}", step.key)

    def _correlation(self, right: Path, field: str, key: str | None) -> None:
        if right.root is Root.STEPS and right.subject is not Subject.STEP_EVENT:
            message = f"{echo(right.text)}: must begin with trigger. or steps.<key>.event.payload."
            self._add(Code.INVALID_PATH, field, message, key)

    def _message_from(self, step: Step, config: WaitConfig) -> None:
        key = config.message_from
        if key is None:
            return
        field = f"{self._field(step)}.config.message_from"
        channels = {channel_of(each.event_name) for each in config.alternatives}
        sender = self._graph.steps.get(key)
        if sender is None:
            self._add(Code.UNKNOWN_STEP, field, f"there is no step '{key}'", step.key)
        elif sender.type not in channels:
            message = f"step {key} sends no message that these events can refer to"
            self._add(Code.WRONG_CHANNEL, field, message, step.key)
        elif step.key in self._upstream and key not in self._upstream[step.key]:
            message = f"step {key} is not on every path to this step"
            self._add(Code.NOT_UPSTREAM, field, message, step.key)

    def exit_paths(self) -> None:
        """Exit rules apply from the beginning, so they cannot refer to steps."""
        for index, rule in enumerate(self._definition.exit_on):
            for _, right in rule.correlate:
                if right.root is Root.STEPS:
                    field = f"{self._prefix}exit_on[{index}].correlate"
                    message = f"{echo(right.text)}: an exit rule can use trigger. only"
                    self._add(Code.NOT_UPSTREAM, field, message)

    def config_of(self, step: Step) -> None:
        """What the policies of the project allow."""
        field = f"{self._field(step)}.config"
        match step.config:
            case WaitConfig(timeout_seconds=int() as seconds):
                if seconds > self._rules.wait_max_days * _DAY_S:
                    message = f"must be at most {self._rules.wait_max_days} days (wait_max_days)"
                    self._add(Code.WAIT_TOO_LONG, f"{field}.timeout_seconds", message, step.key)
            case EmailConfig(kind=MessageKind.MARKETING, topic=None):
                if not self._rules.topicless_marketing:
                    message = (
                        "a marketing mail needs a topic that people can unsubscribe from; "
                        'or set "kind": "transactional" if it is not marketing'
                    )
                    self._add(Code.TOPIC_REQUIRED, f"{field}.topic_id", message, step.key)

    def references_of(self, step: Step, references: References) -> None:
        """Everything that a step refers to exists and can be used."""
        for kind, reference in references_of(step):
            member = ID_MEMBER[kind] if reference.id is not None else kind.value
            field = f"{self._field(step)}.config.{member}"
            found = references.find(kind, reference)
            if found is None:
                message = f"there is no {_said(kind)} {_named(reference)} in this project"
                self._add(Code.NOT_FOUND, field, message, step.key)
            elif kind is Referred.TEMPLATE:
                self._template(step, found, field, references)
            elif kind is Referred.DOMAIN and not references.domains[found]:
                message = "the domain is not verified"
                self._add(Code.NOT_VERIFIED, field, message, step.key)

    def _template(self, step: Step, found: str, field: str, references: References) -> None:
        facts = references.templates[found]
        channel = "email" if step.type is StepType.SEND_EMAIL else "push"
        if facts.channel != channel:
            message = f"is a template for {facts.channel}, this step needs one for {channel}"
            self._add(Code.WRONG_CHANNEL, field, message, step.key)
        if not facts.published:
            message = "this version of the template is not published"
            self._add(Code.NOT_PUBLISHED, field, message, step.key)
        if isinstance(step.config, MessageConfig):
            given = {name for name, _ in step.config.variables}
            for name in sorted(facts.variables - given):
                message = f"the template needs variable {echo(name)}, which has no default"
                where = f"{self._field(step)}.config.variables"
                self._add(Code.VARIABLE_WITHOUT_SOURCE, where, message, step.key)

    def memberships(self, references: References) -> None:
        """Audiences and topics in filters exist."""
        for field, key, filters in self._filters():
            for each in comparisons(filters):
                if each.path.subject not in MEMBERSHIPS:
                    continue
                kind = membership_kind(each.path.subject)
                ids = each.value if isinstance(each.value, tuple) else (each.value,)
                for item in ids:
                    if references.find(kind, membership_reference(str(item))) is None:
                        message = f"there is no {kind} '{echo(str(item))}' in this project"
                        self._add(Code.NOT_FOUND, field, message, key)

    def warn(self, references: References | None) -> None:
        """Warn about what is allowed but often a mistake."""
        for step in self._definition.steps:
            self._warn_branches(step)
            if isinstance(step.config, WaitConfig):
                self._warn_wait(step, step.config)
            if isinstance(step.config, DelayConfig):
                self._warn_night(step, step.config)
            self._warn_twice(step)
        self._warn_causes()
        if references is not None and references.catalog is not None:
            for field, key, event in self._events():
                if event.event_name not in references.catalog:
                    message = f"no event {echo(event.event_name)} was ever received"
                    self.warnings.add(Code.EVENT_NEVER_SEEN, f"{field}.event_name", message, key)
                    continue
                self._warn_paths(event, field, key, references.catalog[event.event_name])

    def _warn_branches(self, step: Step) -> None:
        if step.branches == (Branch.NEXT,):
            return
        for branch in step.branches:
            if self._graph.target(step.key, branch) is None:
                message = f"branch {branch} of step {step.key} is not connected; the run ends there"
                field = self._field(step)
                self.warnings.add(Code.UNCONNECTED_BRANCH, field, message, step.key)

    def _warn_wait(self, step: Step, config: WaitConfig) -> None:
        field = f"{self._field(step)}.config"
        if config.timeout_seconds is None:
            message = f"waits up to {self._rules.wait_max_days} days, since it has no timeout"
            self.warnings.add(Code.WAIT_WITHOUT_TIMEOUT, field, message, step.key)
        if isinstance(config.look_back, int) and config.look_back > _LONG_LOOK_BACK_S:
            message = "counts events from more than 7 days before the wait"
            where = f"{field}.look_back"
            self.warnings.add(Code.LONG_LOOK_BACK, where, message, step.key)
        names = {each.event_name for each in config.alternatives}
        if names & _OPENS:
            message = (
                "mail programs open messages automatically, so an open proves little; "
                "wait for a click or an event of your own"
            )
            self.warnings.add(Code.OPEN_AS_DECISION, field, message, step.key)
        if config.message_from is None:
            before = self._upstream.get(step.key, frozenset())
            passed = {self._graph.steps[key].type for key in before}
            for name in sorted(names):
                channel = channel_of(name)
                if channel is not None and channel not in passed:
                    message = (
                        f"no earlier step sends the message that {name} refers to; "
                        "any message counts"
                    )
                    self.warnings.add(Code.ANY_MESSAGE, field, message, step.key)

    def _warn_night(self, step: Step, config: DelayConfig) -> None:
        until = config.until
        if until is None or _NIGHT_ENDS <= until.hour < _NIGHT_BEGINS:
            return
        for key in self._until_next_wait(step.key):
            after = self._graph.steps[key].config
            if isinstance(after, MessageConfig) and after.kind is MessageKind.MARKETING:
                message = f"step {key} sends marketing at {until.hour:02}:{until.minute:02}"
                field = f"{self._field(step)}.config.until.time"
                self.warnings.add(Code.NIGHT_TIME, field, message, step.key)
                return

    def _warn_twice(self, step: Step) -> None:
        match step.config:
            case EmailConfig(kind=MessageKind.MARKETING, unknown_outcome=UnknownOutcome.RETRY):
                message = (
                    "repeats a mail whose result is unknown, so a person may get it twice; "
                    "hold never repeats it"
                )
                field = f"{self._field(step)}.config.unknown_outcome"
                self.warnings.add(Code.MAY_SEND_TWICE, field, message, step.key)

    def _until_next_wait(self, source: str) -> Iterator[str]:
        """Steps that follow without another delay or wait between."""
        seen: set[str] = set()
        stack = list(self._graph.following(source))
        while stack:
            key = stack.pop()
            if key in seen:
                continue
            seen.add(key)
            yield key
            if not isinstance(self._graph.steps[key].config, DelayConfig | WaitConfig):
                stack.extend(self._graph.following(key))

    def _warn_causes(self) -> None:
        begins = self._definition.trigger.event_name
        if begins.startswith(RUN_EVENTS):
            message = (
                f"runs of this automation cause {begins} themselves, unless filters exclude it"
            )
            self.warnings.add(Code.CAUSES_ITSELF, f"{self._prefix}trigger.event_name", message)
        for step in self._definition.steps:
            caused = _CAUSED.get(step.type, ()) if step.type is not None else ()
            if isinstance(step.config, EmitConfig):
                caused = (step.config.event_name,)
            if begins in caused:
                message = f"step {step.key} causes {begins}, which begins this automation again"
                self.warnings.add(Code.CAUSES_ITSELF, self._field(step), message, step.key)

    def _warn_paths(
        self, event: Alternative, field: str, key: str | None, seen: frozenset[str]
    ) -> None:
        for each in comparisons(event.filters):
            path = each.path
            if path.root is not Root.PAYLOAD or not path.rest or path.rest[0] in seen:
                continue
            message = f"no {event.event_name} was ever received with {echo(str(path.rest[0]))}"
            self.warnings.add(Code.PATH_NEVER_SEEN, f"{field}.filters", message, key)

    def _events(self) -> Iterator[tuple[str, str | None, Alternative]]:
        """Each named event: path, key of its step, and its filter."""
        trigger = self._definition.trigger
        wanted = Alternative(event_name=trigger.event_name, filters=trigger.filters)
        yield f"{self._prefix}trigger", None, wanted
        for index, rule in enumerate(self._definition.exit_on):
            yield f"{self._prefix}exit_on[{index}]", None, rule
        for step in self._definition.steps:
            if isinstance(step.config, WaitConfig):
                several = len(step.config.alternatives) > 1
                for index, each in enumerate(step.config.alternatives):
                    place = f".events[{index}]" if several else ""
                    yield f"{self._field(step)}.config{place}", step.key, each

    def _filters(self) -> Iterator[tuple[str, str | None, Filter]]:
        for field, key, event in self._events():
            yield f"{field}.filters", key, event.filters
        for step in self._definition.steps:
            if isinstance(step.config, ConditionConfig):
                for case in step.config.cases:
                    yield f"{self._field(step)}.config", step.key, case.filters

    def _field(self, step: Step) -> str:
        return f"{self._prefix}steps[{step.index}]"

    def _add(self, code: Code, field: str, message: str, step: str | None = None) -> None:
        self._problems.add(code, field, message, step)


def membership_kind(subject: Subject) -> Referred:
    """The kind of object that a membership filter names."""
    return Referred.AUDIENCE if subject is Subject.IN_AUDIENCE else Referred.TOPIC


def membership_reference(text: str) -> Reference:
    """The value of such a filter: an id if it looks like one, else a name."""
    is_id = len(text) == 36 and text.count("-") == 4
    return Reference(id=text) if is_id else Reference(name=text)


def _exits_when_skipped(step: Step) -> bool:
    return isinstance(step.config, MessageConfig) and step.config.on_skipped is NextOrExit.EXIT


def _paths(step: Step) -> list[Path]:
    """Every path in the config of a step."""
    match step.config:
        case ConditionConfig(cases):
            return [each.path for case in cases for each in comparisons(case.filters)]
        case WaitConfig(alternatives=alternatives):
            inside = [each.path for event in alternatives for each in comparisons(event.filters)]
            return [*inside, *(right for event in alternatives for _, right in event.correlate)]
        case DelayConfig(until_field=until) if until is not None:
            return [until.field]
        case EmailConfig(variables=pairs) | PushConfig(variables=pairs):
            return [source for _, source in pairs if isinstance(source, Path)]
        case ContactUpdateConfig(set=pairs) | EmitConfig(payload=pairs):
            return [source for _, source in pairs if isinstance(source, Path)]
    return []


def _lacks(step: Step, path: Path) -> str | None:
    """Why a step never has the value of a path."""
    if step.type is None:
        return None
    if path.subject is Subject.STEP_EVENT and step.type is not StepType.WAIT_FOR_EVENT:
        return f"step {step.key} waits for no event"
    sends = step.type in {StepType.SEND_EMAIL, StepType.SEND_PUSH}
    if path.subject is Subject.LAST_EVENT and not sends:
        return f"step {step.key} sends no message"
    return None


def _said(kind: Referred) -> str:
    return {Referred.APP: "push app", Referred.TEMPLATE: "published template"}.get(kind, kind.value)


def _named(reference: Reference) -> str:
    return f"with the id {reference.id}" if reference.id else f"'{echo(reference.name or '')}'"
