"""Patterns of events that a subscriber receives: exact names, `prefix.*`, or `*` for all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from headrace.domain.errors import FieldProblem
from headrace.domain.events.fields import EVENT_NAME_CHARACTERS_MAX, is_event_name

#: Most patterns of one subscriber.
PATTERNS_MAX = 100
ALL_EVENTS: Final = "*"
_PREFIX_END: Final = ".*"
#: Names whose subscribers an index caches; a service has hundreds of names.
_REMEMBERED_NAMES_MAX = 4096

S = TypeVar("S")


def check_pattern(pattern: str) -> str:
    """Return the pattern unchanged.

    `order.*` matches every name that starts with `order.`, at any depth, but not `order` itself.
    `*` matches everything, system events included.

    Raises:
        ValueError: with a sentence for the caller.
    """
    name = pattern.removesuffix(_PREFIX_END)
    if pattern == ALL_EVENTS or is_event_name(name):
        return pattern
    if len(name) > EVENT_NAME_CHARACTERS_MAX:
        message = f"must be at most {EVENT_NAME_CHARACTERS_MAX} characters"
    elif "*" in name:
        message = "may have one * only: alone, or after the last dot, such as order.*"
    else:
        message = "must be an event name such as order.completed, a prefix such as order.*, or *"
    raise ValueError(message)


def is_prefix(pattern: str) -> bool:
    """Whether it is a prefix: `order.*`."""
    return pattern.endswith(_PREFIX_END)


def check_filter(pattern: str) -> str | None:
    """Return the pattern of a list's filter unchanged, None for one that matches everything.

    Raises:
        ValueError: with a sentence for the caller.
    """
    return None if check_pattern(pattern) == ALL_EVENTS else pattern


def check_patterns(patterns: Sequence[str]) -> tuple[tuple[str, ...], list[FieldProblem]]:
    """Check the `events` of a subscriber.

    Returns:
        The patterns in the order sent, repeats left out, and every problem found.
    """
    if not 1 <= len(patterns) <= PATTERNS_MAX:
        message = f"must have 1 to {PATTERNS_MAX} items, got {len(patterns)}"
        return (), [FieldProblem("events", message)]
    problems: list[FieldProblem] = []
    for index, pattern in enumerate(patterns):
        try:
            check_pattern(pattern)
        except ValueError as error:
            problems.append(FieldProblem(f"events[{index}]", str(error)))
    return tuple(dict.fromkeys(patterns)), problems


def pattern_wants(pattern: str, name: str) -> bool:
    """Whether a pattern matches the event; the rule that the index below speeds up."""
    if pattern == ALL_EVENTS:
        return True
    if pattern.endswith(_PREFIX_END):
        return name.startswith(pattern[:-1])
    return pattern == name


@dataclass(frozen=True, kw_only=True, slots=True)
class Match(Generic[S]):
    """A matching subscriber, and its pattern for the trace."""

    subscriber: S
    pattern: str


class SubscriptionIndex(Generic[S]):
    """Finds the subscribers of an event without testing each one.

    Rebuilt when a subscriber changes. One lookup for the exact name and one for each of its dots,
    however many subscribers there are; the result is cached for the next event of that name. Of
    several matching patterns of one subscriber the most exact one is reported.

    Args:
        subscribers: each with its checked patterns.
    """

    def __init__(self, subscribers: Iterable[tuple[S, Iterable[str]]]) -> None:
        self._subscribers: list[S] = []
        #: Pattern -> indexes of its subscribers in the list above.
        self._places: dict[str, list[int]] = {}
        self._remembered: dict[str, tuple[Match[S], ...]] = {}
        for place, (subscriber, patterns) in enumerate(subscribers):
            self._subscribers.append(subscriber)
            for pattern in patterns:
                self._places.setdefault(pattern, []).append(place)

    def match(self, name: str) -> tuple[Match[S], ...]:
        """Subscribers of the event, each once, in the given order."""
        matches = self._remembered.get(name)
        if matches is None:
            matches = self._find(name)
            if len(self._remembered) >= _REMEMBERED_NAMES_MAX:
                self._remembered.clear()
            self._remembered[name] = matches
        return matches

    def _find(self, name: str) -> tuple[Match[S], ...]:
        pattern_of: dict[int, str] = {}
        for pattern in _candidates(name):
            for place in self._places.get(pattern, ()):
                pattern_of.setdefault(place, pattern)
        return tuple(
            Match(subscriber=self._subscribers[place], pattern=pattern_of[place])
            for place in sorted(pattern_of)
        )


def _candidates(name: str) -> list[str]:
    """Every pattern that matches the name, the most exact first."""
    candidates = [name]
    end = name.rfind(".")
    while end > 0:
        candidates.append(name[:end] + _PREFIX_END)
        end = name.rfind(".", 0, end)
    candidates.append(ALL_EVENTS)
    return candidates
