"""Policies that concern messages, stored with the others.

Their values are kept as the operator wrote them, in JSON; each read checks and parses them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from headrace.domain.messages.kinds import Channel, SuppressionScope, UnknownOutcome
from headrace.domain.messages.sending_policies import (
    BOUNDS,
    SendingPolicies,
    check_zone,
    parse_frequency_caps,
    parse_quiet_hours,
    parse_send_windows,
    parse_sending_paused,
)
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Row, Transaction

RETENTION_DAYS_MAX = 3650
#: System events that a project gets only on request.
OPTIONAL_EVENTS = (
    *("sendrealm.mail.skip", "sendrealm.push.delivery", "sendrealm.push.click"),
    *("sendrealm.push.dismiss", "sendrealm.automation.started"),
    *("sendrealm.automation.completed", "sendrealm.automation.failed"),
)

_OF_PROJECT = sql("SELECT name, value FROM policies WHERE project_id = $1")

_OPTIONAL = sql("SELECT value FROM policies WHERE project_id = $1 AND name = 'optional_events'")


def check_sending_policy(name: str, value: Any) -> Any:
    """Return the value of a policy in the type of `SendingPolicies`.

    Raises:
        KeyError: there is no policy of that name.
        ValueError: with a sentence for the operator.
    """
    return _CHECKS[name](value)


async def wants_event(tx: Transaction, project_id: int, name: str) -> bool:
    """Whether a project has asked for an optional event."""
    text = await tx.value(_OPTIONAL, project_id)
    return text is not None and name in msgspec.json.decode(text, type=list[str])


async def read_sending_policies(tx: Transaction, project_id: int) -> SendingPolicies:
    """Policies of a project; those it did not change are at their defaults."""
    return sending_policies_of(await tx.rows(_OF_PROJECT, project_id))


def sending_policies_of(rows: Iterable[Row]) -> SendingPolicies:
    """Policies from names and values; names of other policies are skipped."""
    found: dict[str, Any] = {}
    for name, text in rows:
        if name in _CHECKS and name not in _APART:
            field = "machine_engagement_emit" if name == "machine_engagement" else name
            found[field] = check_sending_policy(name, msgspec.json.decode(text))
    return SendingPolicies(**found)


def _number(name: str) -> Callable[[Any], int]:
    low, high = BOUNDS[name]

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


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "send_limit_per_day": _limits,
    "frequency_caps": _list_or_none(parse_frequency_caps),
    "quiet_hours": parse_quiet_hours,
    "send_windows": _list_or_none(parse_send_windows),
    "default_timezone": _zone,
    "max_defer_hours": _number("max_defer_hours"),
    "engagement_settle_seconds": _number("engagement_settle_seconds"),
    "machine_engagement": lambda value: _one_of("record", "emit")(value) == "emit",
    "sending_paused": parse_sending_paused,
    "complaint_scope": lambda value: SuppressionScope(_one_of(*SuppressionScope)(value)),
    "unknown_outcome_marketing": lambda value: UnknownOutcome(_one_of(*UnknownOutcome)(value)),
    "unknown_outcome_transactional": lambda value: UnknownOutcome(_one_of(*UnknownOutcome)(value)),
    "soft_bounces_to_suppress": _number("soft_bounces_to_suppress"),
    "topicless_marketing": _flag,
    "run_retention_days": _days,
    "optional_events": _events,
}
#: Read where they are used, separately from the others.
_APART = frozenset({"run_retention_days", "optional_events"})
#: Names of all policies that concern messages.
SENDING_POLICIES = tuple(_CHECKS)
