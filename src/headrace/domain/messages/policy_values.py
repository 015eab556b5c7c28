"""Policies that concern messages as operators write them: JSON values, checked by name.

Each is stored as it was written; `SendingPolicies` has the values that decisions are made by.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from headrace.domain.messages.kinds import Channel, SuppressionScope, UnknownOutcome
from headrace.domain.messages.sending_policies import (
    BOUNDS,
    CAPS_MAX,
    PAUSED_DOMAINS_MAX,
    WINDOWS_MAX,
    check_zone,
    parse_frequency_caps,
    parse_quiet_hours,
    parse_send_windows,
    parse_sending_paused,
)

RETENTION_DAYS_MAX = 3650
#: Bounds of the policies of automations.
RUN_BOUNDS: dict[str, tuple[int, int]] = {
    "automation_start_limit_per_hour": (1, 10_000_000),
    "open_runs_per_contact_max": (1, 10_000),
    "automation_depth_max": (1, 20),
    "wait_max_days": (1, 365),
    "timer_hold_max_seconds": (0, 86_400),
}
#: System events that a project gets only when it asks for them.
OPTIONAL_EVENTS = (
    *("sendrealm.mail.skip", "sendrealm.push.delivery", "sendrealm.push.click"),
    *("sendrealm.push.dismiss", "sendrealm.push.skip", "sendrealm.automation.started"),
    *("sendrealm.automation.completed", "sendrealm.automation.failed"),
)
#: Levels of the deepest value.
DEPTH_MAX = 4


class SendingPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """One policy."""

    #: Returns the value in the type of `SendingPolicies`; raises ValueError with a sentence.
    check: Callable[[Any], Any]
    #: As JSON has it.
    default: Any
    unit: str
    #: Inclusive, of a number.
    bounds: tuple[int, int] | None = None


def check_sending_policy(name: str, value: Any) -> Any:
    """Return the value of a policy in the type of `SendingPolicies`.

    Args:
        value: as JSON has it, with Python's numbers.

    Raises:
        KeyError: there is no policy of that name.
        ValueError: with a sentence for the operator.
    """
    return SENDING_POLICIES[name].check(value)


def _number(name: str) -> Callable[[Any], int]:
    low, high = BOUNDS[name] if name in BOUNDS else RUN_BOUNDS[name]

    def check(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            message = f"must be a whole number from {low} to {high}"
            raise ValueError(message)
        return value

    return check


def _limits(value: Any) -> dict[Channel, int]:
    """A number for all channels, or one for each; null is no limit."""
    check = _number("send_limit_per_day")
    if value is None:
        return {}
    if not isinstance(value, dict):
        return dict.fromkeys(Channel, check(value))
    if unknown := sorted(set(value) - set(Channel)):
        message = f"must name {' or '.join(Channel)}, not {unknown[0][:64]}"
        raise ValueError(message)
    return {Channel(name): check(most) for name, most in value.items() if most is not None}


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("must be true or false")
    return value


def _zone(value: Any) -> str:
    return check_zone(value if isinstance(value, str) else "")


def _one_of(*known: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in known:
            message = f"must be one of {', '.join(known)}"
            raise ValueError(message)
        return str(value)

    return check


def _days(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= RETENTION_DAYS_MAX:
        message = f"must be a whole number from 1 to {RETENTION_DAYS_MAX}"
        raise ValueError(message)
    return value


def _events(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(one in OPTIONAL_EVENTS for one in value):
        message = f"must be an array of some of {', '.join(OPTIONAL_EVENTS)}"
        raise ValueError(message)
    return tuple(value)


def _list_or_none(parse: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any], tuple[Any, ...]]:
    return lambda value: () if value is None else parse(value)


def _policy(
    check: Callable[[Any], Any], default: Any, unit: str, bounds: tuple[int, int] | None = None
) -> SendingPolicy:
    return SendingPolicy(check=check, default=default, unit=unit, bounds=bounds)


def _counted(name: str, default: int, unit: str) -> SendingPolicy:
    return _policy(_number(name), default, unit, BOUNDS[name])


def _of_runs(name: str, default: int | None, unit: str) -> SendingPolicy:
    check = _number(name)
    if default is None:
        return _policy(
            lambda value: None if value is None else check(value), None, unit, RUN_BOUNDS[name]
        )
    return _policy(check, default, unit, RUN_BOUNDS[name])


def _unknown(default: UnknownOutcome) -> SendingPolicy:
    check = _one_of(*UnknownOutcome)
    return _policy(lambda value: UnknownOutcome(check(value)), default.value, "hold or retry")


#: All policies that concern messages, by name.
SENDING_POLICIES: dict[str, SendingPolicy] = {
    "sending_paused": _policy(
        parse_sending_paused,
        "none",
        f"none, all, mail, push or an array of up to {PAUSED_DOMAINS_MAX} sending domains, with "
        "mail or push as well",
    ),
    "send_limit_per_day": _policy(
        _limits, None, "messages a day, of each channel or by channel", BOUNDS["send_limit_per_day"]
    ),
    "frequency_caps": _policy(
        _list_or_none(parse_frequency_caps),
        None,
        f"an array of up to {CAPS_MAX} of channel, max, per_seconds, kinds, topic_id, on_cap",
    ),
    "quiet_hours": _policy(parse_quiet_hours, None, "start, end, timezone, channels, kinds"),
    "send_windows": _policy(
        _list_or_none(parse_send_windows),
        None,
        f"an array of up to {WINDOWS_MAX} of weekdays, start, end",
    ),
    "default_timezone": _policy(_zone, "UTC", "an IANA time zone"),
    "max_defer_hours": _counted("max_defer_hours", 72, "hours"),
    "engagement_settle_seconds": _counted("engagement_settle_seconds", 10, "seconds"),
    "machine_engagement": _policy(
        lambda value: _one_of("record", "emit")(value) == "emit", "record", "record or emit"
    ),
    "complaint_scope": _policy(
        lambda value: SuppressionScope(_one_of(*SuppressionScope)(value)),
        "marketing",
        "marketing or all",
    ),
    "unknown_outcome_marketing": _unknown(UnknownOutcome.HOLD),
    "unknown_outcome_transactional": _unknown(UnknownOutcome.RETRY),
    "soft_bounces_to_suppress": _counted("soft_bounces_to_suppress", 5, "bounces"),
    "topicless_marketing": _policy(_flag, default=False, unit="true or false"),
    "run_retention_days": _policy(_days, 90, "days", (1, RETENTION_DAYS_MAX)),
    "automation_start_limit_per_hour": _of_runs(
        "automation_start_limit_per_hour", None, "runs an hour, of all automations"
    ),
    "open_runs_per_contact_max": _of_runs("open_runs_per_contact_max", 100, "runs"),
    "automation_depth_max": _of_runs("automation_depth_max", 5, "automations"),
    "wait_max_days": _of_runs("wait_max_days", 365, "days"),
    "timer_hold_max_seconds": _of_runs("timer_hold_max_seconds", 900, "seconds"),
    "optional_events": _policy(_events, [], "an array of names of system events"),
}
