"""All policies of a project together: those of events and those that concern messages."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec

from headrace.domain.access.policies import BOUNDS, DEFAULTS, NAMES, UNITS, check_policy
from headrace.domain.messages.policy_values import SENDING_POLICIES, check_sending_policy

#: Of every policy, in the order in which they are shown.
POLICY_NAMES = (*NAMES, *SENDING_POLICIES)
#: Typed to remove a limit.
NONE_WORDS = frozenset({"none", "null"})


class PolicyFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Default, unit and bounds of a policy, the same in every project."""

    #: As a JSON value.
    default: Any
    unit: str
    #: Inclusive; None for a policy that is not a number.
    bounds: tuple[float, float] | None


def policy_facts(name: str) -> PolicyFacts:
    """Default, unit and bounds of a policy.

    Raises:
        KeyError: there is no policy of that name.
    """
    if name in SENDING_POLICIES:
        rule = SENDING_POLICIES[name]
        return PolicyFacts(default=rule.default, unit=rule.unit, bounds=rule.bounds)
    default = getattr(DEFAULTS, name)
    return PolicyFacts(default=default, unit=UNITS[name], bounds=BOUNDS.get(name))


def checked_value(name: str, value: Any) -> Any:
    """A value of a policy as it is stored.

    Args:
        value: as JSON has it, with Python's numbers; for policies of events also as text.

    Raises:
        KeyError: there is no policy of that name.
        ValueError: with a sentence for the operator.
    """
    if name not in SENDING_POLICIES:
        return check_policy(name, value)
    check_sending_policy(name, value)
    return value


def typed_value(name: str, text: str) -> Any:
    """A value that a person has typed, as it is stored: text, or JSON for messages.

    Raises:
        KeyError: there is no policy of that name.
        ValueError: with a sentence for the operator.
    """
    if name not in SENDING_POLICIES:
        return checked_value(name, None if text.lower() in NONE_WORDS else text)
    value: Any = text
    if text.lower() in NONE_WORDS:
        # Where `none` is the default it is a value, not the absence of a limit.
        value = None if policy_facts(name).default != "none" else "none"
    else:
        with contextlib.suppress(msgspec.DecodeError):
            value = msgspec.json.decode(text)
    return checked_value(name, value)


def value_text(value: Any) -> str:
    """A value as people type it; `none` without one."""
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else msgspec.json.encode(value).decode().strip('"')
