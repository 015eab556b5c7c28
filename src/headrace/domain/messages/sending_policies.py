"""Policies of a project that concern messages, with their defaults and bounds."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from headrace.domain.errors import ApiError, FieldProblem
from headrace.domain.events.fields import check_contact_id
from headrace.domain.json_fields import FieldReader, kind_of
from headrace.domain.json_text import Number
from headrace.domain.messages.kinds import Channel, MessageKind, SuppressionScope, UnknownOutcome
from headrace.domain.messages.requests import check_domain
from headrace.domain.messages.send_times import (
    WEEKDAYS,
    QuietHours,
    SendWindow,
    find_zone,
    parse_clock,
)

T = TypeVar("T")

CAPS_MAX = 10
CAP_MESSAGES_MAX = 1_000_000
CAP_SECONDS_MAX = 366 * 86_400
WINDOWS_MAX = 7
PAUSED_DOMAINS_MAX = 100


class OnCap(StrEnum):
    """How to treat a message over a frequency cap."""

    SKIP = "skip"
    DEFER = "defer"


class FrequencyCap(msgspec.Struct, frozen=True, kw_only=True):
    """Limit of messages to one contact in a rolling window."""

    channel: Channel
    max: int
    per_seconds: int
    kinds: frozenset[MessageKind] = frozenset({MessageKind.MARKETING})
    #: None: messages of all topics count.
    topic_id: str | None = None
    on_cap: OnCap = OnCap.SKIP


class QuietRule(msgspec.Struct, frozen=True, kw_only=True):
    """Quiet hours, and the messages they apply to."""

    hours: QuietHours
    #: None: the zone of the contact.
    timezone: str | None = None
    channels: frozenset[Channel] = frozenset(Channel)
    kinds: frozenset[MessageKind] = frozenset({MessageKind.MARKETING})


class SendingPaused(msgspec.Struct, frozen=True, kw_only=True):
    """The emergency stop: messages that are not sent."""

    channels: frozenset[Channel] = frozenset()
    #: Lower-case ASCII.
    domains: frozenset[str] = frozenset()

    def covers(self, channel: Channel, domain: str | None) -> bool:
        """Whether a message of that channel and sending domain waits."""
        return channel in self.channels or (domain is not None and domain in self.domains)


class SendingPolicies(msgspec.Struct, frozen=True, kw_only=True):
    """All policies that concern messages; the defaults are those of a new project."""

    #: Per channel and day in the project's zone; a channel that is absent has no limit.
    send_limit_per_day: dict[Channel, int] = {}
    frequency_caps: tuple[FrequencyCap, ...] = ()
    quiet_hours: QuietRule | None = None
    send_windows: tuple[SendWindow, ...] = ()
    default_timezone: str = "UTC"
    max_defer_hours: int = 72
    engagement_settle_seconds: int = 10
    machine_engagement_emit: bool = False
    sending_paused: SendingPaused = SendingPaused()
    complaint_scope: SuppressionScope = SuppressionScope.MARKETING
    unknown_outcome_marketing: UnknownOutcome = UnknownOutcome.HOLD
    unknown_outcome_transactional: UnknownOutcome = UnknownOutcome.RETRY
    soft_bounces_to_suppress: int = 5
    topicless_marketing: bool = False

    def unknown_outcome(self, kind: MessageKind) -> UnknownOutcome:
        """How to treat a message of that kind whose outcome is unknown."""
        if kind is MessageKind.MARKETING:
            return self.unknown_outcome_marketing
        return self.unknown_outcome_transactional


#: Inclusive bounds of the numeric ones.
BOUNDS: dict[str, tuple[int, int]] = {
    "send_limit_per_day": (1, 100_000_000),
    "max_defer_hours": (1, 720),
    "engagement_settle_seconds": (0, 300),
    "soft_bounces_to_suppress": (1, 20),
}


def parse_sending_paused(value: Any) -> SendingPaused:
    """Read `none`, `all`, `mail`, `push` or an array of domains, which may name channels as well.

    Raises:
        ValueError: with a sentence for the operator.
    """
    named = {"none": (), "all": tuple(Channel), "mail": (Channel.MAIL,), "push": (Channel.PUSH,)}
    if isinstance(value, str) and value in named:
        return SendingPaused(channels=frozenset(named[value]))
    if not isinstance(value, list) or not all(type(item) is str for item in value):
        raise ValueError("must be none, all, mail, push or an array of domains")
    channels = frozenset(Channel(item) for item in value if item in set(Channel))
    domains = [item for item in value if item not in set(Channel)]
    if len(domains) > PAUSED_DOMAINS_MAX:
        message = f"must have at most {PAUSED_DOMAINS_MAX} domains"
        raise ValueError(message)
    return SendingPaused(
        channels=channels, domains=frozenset(check_domain(item) for item in domains)
    )


def parse_frequency_caps(value: Any) -> tuple[FrequencyCap, ...]:
    """Read an array of caps, as JSON was parsed.

    Raises:
        ValueError: with every problem in one sentence for the operator.
    """
    known = ("channel", "max", "per_seconds", "kinds", "topic_id", "on_cap")

    def cap(one: FieldReader) -> FrequencyCap:
        one.require("channel", "max", "per_seconds")
        return FrequencyCap(
            channel=one.text("channel", Channel) or Channel.MAIL,
            max=_whole(one, "max", CAP_MESSAGES_MAX),
            per_seconds=_whole(one, "per_seconds", CAP_SECONDS_MAX),
            kinds=_some(one, "kinds", MessageKind) or frozenset({MessageKind.MARKETING}),
            topic_id=one.text("topic_id", check_contact_id),
            on_cap=one.text("on_cap", OnCap) or OnCap.SKIP,
        )

    return _read("frequency_caps", value, CAPS_MAX, known, cap)


def parse_quiet_hours(value: Any) -> QuietRule | None:
    """Read `{start, end, timezone, channels, kinds}`; None is none.

    Raises:
        ValueError: with every problem in one sentence for the operator.
    """
    known = ("start", "end", "timezone", "channels", "kinds")

    def rule(one: FieldReader) -> QuietRule:
        one.require("start", "end")
        start, end = one.text("start", parse_clock), one.text("end", parse_clock)
        if start is not None and start == end:
            one.add("end", "must differ from start")
        return QuietRule(
            hours=QuietHours(start=start or parse_clock("00:00"), end=end or parse_clock("00:00")),
            timezone=one.text("timezone", check_zone),
            channels=_some(one, "channels", Channel) or frozenset(Channel),
            kinds=_some(one, "kinds", MessageKind) or frozenset({MessageKind.MARKETING}),
        )

    if value is None:
        return None
    return _read("quiet_hours", [value], 1, known, rule)[0]


def parse_send_windows(value: Any) -> tuple[SendWindow, ...]:
    """Read an array of `{weekdays, start, end}`.

    Raises:
        ValueError: with every problem in one sentence for the operator.
    """

    def window(one: FieldReader) -> SendWindow:
        one.require("weekdays", "start", "end")
        start, end = one.text("start", parse_clock), one.text("end", parse_clock)
        if start is not None and end is not None and end.hour + end.minute and end <= start:
            one.add("end", "must be after start, on the same day")
        days = one.texts("weekdays", len(WEEKDAYS), _weekday)
        if days == []:
            one.add("weekdays", "must name at least one day")
        return SendWindow(
            weekdays=frozenset(days or ()),
            start=start or parse_clock("00:00"),
            end=end or parse_clock("00:00"),
        )

    return _read("send_windows", value, WINDOWS_MAX, ("weekdays", "start", "end"), window)


def check_zone(text: str) -> str:
    """Return the name of an IANA time zone.

    Raises:
        ValueError: with a sentence for the operator.
    """
    if find_zone(text) is None:
        raise ValueError("must be an IANA time zone such as Europe/Vienna")
    return text


def _read(
    name: str, value: Any, most: int, known: tuple[str, ...], read: Callable[[FieldReader], T]
) -> tuple[T, ...]:
    check = FieldReader({name: value}, (name,), "a policy")
    found = tuple(read(one) for one in check.objects(name, most, known, "a rule"))
    try:
        check.raise_if_any()
    except ApiError as error:
        raise ValueError("; ".join(map(_sentence, error.details))) from None
    return found


def _sentence(problem: FieldProblem) -> str:
    return f"{problem.field} {problem.message}"


def _some(one: FieldReader, field: str, kind: Callable[[str], T]) -> frozenset[T]:
    return frozenset(one.texts(field, 10, kind) or ())


def _weekday(text: str) -> int:
    if text not in WEEKDAYS:
        message = f"must be one of {', '.join(WEEKDAYS)}"
        raise ValueError(message)
    return WEEKDAYS.index(text)


def _whole(one: FieldReader, field: str, most: int) -> int:
    value = one.members.get(field)
    if isinstance(value, Number) and value.isdigit() and len(value) < 12:
        value = int(value)
    if type(value) is int and 1 <= value <= most:
        return value
    if value is not None:
        shown = "" if isinstance(value, int) else f", got {kind_of(value)}"
        one.add(field, f"must be a whole number from 1 to {most}{shown}")
    return 1
