"""When each property was set, so that what happened last wins and not what arrived last.

Whatever the order in which writes arrive, the same writes end in the same properties:

- of `set`s and removals, the one that happened last holds; a removal leaves its time behind;
- of `set once`s, the one that happened first holds, and never against a `set` or a removal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from headrace.domain.contacts.properties import PropertyValue, same_value, size_problem

#: Place of a write through the API among the events of the same microsecond: after all of them.
WRITTEN = 2**63 - 1
#: Removed properties whose time is remembered; past it the oldest is forgotten.
REMOVED_MAX = 100


class Stamp(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, gc=False):
    """When a property was set or removed."""

    at_us: int
    #: Sequence of the event, `WRITTEN` for a write through the API.
    order: int = WRITTEN
    #: Whether it was to be set only if nothing had set it before.
    once: bool = False

    def beats(self, held: Stamp) -> bool:
        """Whether a write of this time takes the place of what is held."""
        if self.once != held.once:
            return held.once
        if self.once:
            return (self.at_us, self.order) < (held.at_us, held.order)
        return (self.at_us, self.order) >= (held.at_us, held.order)


#: Of a value from before times were kept.
_UNKNOWN = Stamp(0)

Properties = dict[str, PropertyValue]
Times = dict[str, Stamp]


class Values(msgspec.Struct, frozen=True):
    """Properties with their times; a name that only has a time was removed."""

    properties: Properties = {}
    times: Times = {}

    def held(self, name: str) -> Stamp | None:
        """When the property was set or removed; None when it never was."""
        stamp = self.times.get(name)
        return _UNKNOWN if stamp is None and name in self.properties else stamp

    def properties_text(self) -> str:
        """The properties as they are stored."""
        return msgspec.json.encode(self.properties).decode()

    def times_text(self) -> str:
        """The times as they are stored."""
        return msgspec.json.encode(self.times).decode() if self.times else "{}"


class Written(msgspec.Struct, frozen=True):
    """What came of a write."""

    values: Values
    #: Names whose newest word this is now, whether their value changed or not.
    applied: list[str]
    #: Names that keep what they have, and since when they have it.
    kept: list[tuple[str, int]]
    #: Names for which there is no room, with the reason.
    refused: list[tuple[str, str]]
    #: Why the whole was too much; None when it was not.
    problem: str | None


_decode_properties = msgspec.json.Decoder(Properties).decode
_decode_times = msgspec.json.Decoder(Times).decode


def read_values(properties: str, times: str) -> Values:
    """Properties and times as they are stored."""
    return Values(_decode_properties(properties), {} if times == "{}" else _decode_times(times))


def write(held: Values, sent: Mapping[str, PropertyValue | None], stamp: Stamp) -> Written:
    """Write names and values of one time; None removes. What is too much is refused by itself."""
    properties, times = dict(held.properties), dict(held.times)
    applied: list[str] = []
    kept: list[tuple[str, int]] = []
    refused: list[tuple[str, str]] = []
    for name, value in sent.items():
        before = held.held(name)
        if before is not None and not stamp.beats(before):
            kept.append((name, before.at_us))
            continue
        _put(properties, name, value)
        times[name] = stamp
        applied.append(name)
    problem = size_problem(properties)
    if problem is not None:
        properties, times, applied, refused = _one_by_one(held, sent, stamp, applied)
    return Written(Values(properties, _bounded(properties, times)), applied, kept, refused, problem)


def _put(properties: dict[str, Any], name: str, value: PropertyValue | None) -> None:
    if value is None:
        properties.pop(name, None)
    elif name not in properties or not same_value(properties[name], value):
        properties[name] = value


def _one_by_one(
    held: Values, sent: Mapping[str, PropertyValue | None], stamp: Stamp, names: list[str]
) -> tuple[Properties, Times, list[str], list[tuple[str, str]]]:
    """The same for a write that is too much as a whole: removals first, then what has room."""
    properties, times = dict(held.properties), dict(held.times)
    applied: list[str] = []
    refused: list[tuple[str, str]] = []
    for name in sorted(names, key=lambda name: sent[name] is not None):
        before = dict(properties)
        _put(properties, name, sent[name])
        problem = size_problem(properties)
        if problem is None or sent[name] is None:
            times[name] = stamp
            applied.append(name)
        else:
            properties = before
            refused.append((name, problem))
    return properties, times, applied, refused


def join(own: Values, other: Values) -> Values:
    """The properties of two contacts in one: what would hold had it always been one."""
    properties, times = dict(own.properties), dict(own.times)
    for name in dict.fromkeys((*other.properties, *other.times)):
        theirs, ours = other.held(name), own.held(name)
        assert theirs is not None
        if ours is not None and (theirs == ours or not theirs.beats(ours)):
            continue
        _put(properties, name, other.properties.get(name))
        times[name] = theirs
    return Values(properties, _bounded(properties, times))


def _bounded(properties: Properties, times: Times) -> Times:
    removed = [name for name in times if name not in properties]
    if len(removed) <= REMOVED_MAX:
        return times
    removed.sort(key=lambda name: (times[name].at_us, name))
    for name in removed[: len(removed) - REMOVED_MAX]:
        del times[name]
    return times
