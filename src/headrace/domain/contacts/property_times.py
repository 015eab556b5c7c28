"""Times of properties, so that the change that happened last wins, not the one that arrived last.

Whatever the order in which writes arrive, the same writes end in the same properties:

- of `set`s and removals, the one that happened last wins; a removal leaves its time behind;
- of `set once`s, the one that happened first wins, and never against a `set` or a removal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from headrace.domain.contacts.properties import PropertyValue, same_value, size_problem

#: Sequence of a write through the API: after all events of the same microsecond.
WRITTEN = 2**63 - 1
#: Removed properties whose time is kept; past it the oldest is dropped.
REMOVED_MAX = 100


class Stamp(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, gc=False):
    """When a property was set or removed."""

    at_us: int
    #: Sequence of the event, `WRITTEN` for a write through the API.
    order: int = WRITTEN
    #: Whether it is set only if nothing has set it before.
    once: bool = False
    #: Whether a client without a key set it, as a tag.
    tag: bool = False

    def beats(self, held: Stamp) -> bool:
        """Whether a write of this time replaces the current value."""
        if self.once != held.once:
            return held.once
        if self.once:
            return (self.at_us, self.order) < (held.at_us, held.order)
        return (self.at_us, self.order) >= (held.at_us, held.order)


#: Time of a value from before times were kept.
_UNKNOWN = Stamp(0)

Properties = dict[str, PropertyValue]
Times = dict[str, Stamp]


class Values(msgspec.Struct, frozen=True):
    """Properties with their times; a name with only a time was removed."""

    properties: Properties = {}
    times: Times = {}

    def held(self, name: str) -> Stamp | None:
        """When the property was set or removed; None when it never was."""
        stamp = self.times.get(name)
        return _UNKNOWN if stamp is None and name in self.properties else stamp

    def takes_tag(self, name: str) -> bool:
        """Whether a client may set the property: nothing has it but a tag."""
        stamp = self.times.get(name)
        return name not in self.properties or (stamp is not None and stamp.tag)

    def properties_text(self) -> str:
        """The properties as they are stored."""
        return msgspec.json.encode(self.properties).decode()

    def times_text(self) -> str:
        """The times as they are stored."""
        return msgspec.json.encode(self.times).decode() if self.times else "{}"


class Written(msgspec.Struct, frozen=True):
    """Outcome of a write."""

    values: Values
    #: Names for which this is now the latest write, whether their value changed or not.
    applied: list[str]
    #: Names that keep their value, and since when they have it.
    kept: list[tuple[str, int]]
    #: Names that do not fit, with the reason.
    rejected: list[tuple[str, str]]
    #: Why the whole was too much; None when it was not.
    problem: str | None


_decode_properties = msgspec.json.Decoder(Properties).decode
_decode_times = msgspec.json.Decoder(Times).decode


def read_values(properties: str, times: str) -> Values:
    """Properties and times as they are stored."""
    return Values(_decode_properties(properties), {} if times == "{}" else _decode_times(times))


def write(held: Values, sent: Mapping[str, PropertyValue | None], stamp: Stamp) -> Written:
    """Write values of one time; None removes. Over a limit they are rejected one by one."""
    properties, times = dict(held.properties), dict(held.times)
    applied: list[str] = []
    kept: list[tuple[str, int]] = []
    rejected: list[tuple[str, str]] = []
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
        properties, times, applied, rejected = _one_by_one(held, sent, stamp, applied)
    return Written(
        Values(properties, _bounded(properties, times)), applied, kept, rejected, problem
    )


def _put(properties: dict[str, Any], name: str, value: PropertyValue | None) -> None:
    if value is None:
        properties.pop(name, None)
    elif name not in properties or not same_value(properties[name], value):
        properties[name] = value


def _one_by_one(
    held: Values, sent: Mapping[str, PropertyValue | None], stamp: Stamp, names: list[str]
) -> tuple[Properties, Times, list[str], list[tuple[str, str]]]:
    """The same for a write that is too much as a whole: removals first, then what fits."""
    properties, times = dict(held.properties), dict(held.times)
    applied: list[str] = []
    rejected: list[tuple[str, str]] = []
    for name in sorted(names, key=lambda name: sent[name] is not None):
        before = dict(properties)
        _put(properties, name, sent[name])
        problem = size_problem(properties)
        if problem is None or sent[name] is None:
            times[name] = stamp
            applied.append(name)
        else:
            properties = before
            rejected.append((name, problem))
    return properties, times, applied, rejected


def join(own: Values, other: Values) -> Values:
    """The properties of two contacts merged: as if they had always been one contact."""
    properties, times = dict(own.properties), dict(own.times)
    for name in dict.fromkeys((*other.properties, *other.times)):
        other_held, own_held = other.held(name), own.held(name)
        assert other_held is not None
        if own_held is not None and (other_held == own_held or not other_held.beats(own_held)):
            continue
        _put(properties, name, other.properties.get(name))
        times[name] = other_held
    return Values(properties, _bounded(properties, times))


def _bounded(properties: Properties, times: Times) -> Times:
    removed = [name for name in times if name not in properties]
    if len(removed) <= REMOVED_MAX:
        return times
    removed.sort(key=lambda name: (times[name].at_us, name))
    for name in removed[: len(removed) - REMOVED_MAX]:
        del times[name]
    return times
