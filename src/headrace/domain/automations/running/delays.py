"""Computes when a delay is over."""

from __future__ import annotations

import re
from datetime import date, time, tzinfo
from hashlib import blake2b

import msgspec

from headrace.domain.automations.definition.model import DelayConfig, NextOrExit, UntilField
from headrace.domain.automations.definition.zones import next_wall_time, start_of_day, zone_of
from headrace.domain.automations.filters.values import Value, moment
from headrace.domain.automations.limits import TIME_CHARACTERS_MAX
from headrace.domain.timestamps import LATEST_US

_SECOND_US = 1_000_000
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


class Due(msgspec.Struct, frozen=True):
    """When the run continues; without a time at once, or not at all."""

    at_us: int | None
    #: What to do without a time to wait for: the field is missing, or its time is past.
    instead: NextOrExit = NextOrExit.NEXT
    was_missing: bool = False


def delay_due(config: DelayConfig, begun_us: int, zone_name: str, field: Value, seed: str) -> Due:
    """When a delay that began at a moment is over.

    Args:
        config: the delay.
        begun_us: microseconds since 1970.
        zone_name: a zone that exists: that of the contact.
        field: value of the field that `until_field` names.
        seed: determines the offset within the spread; the same seed, the same offset.
    """
    spread_us = _spread_us(config.spread_seconds, seed)
    if config.seconds is not None:
        return Due(_bounded(begun_us + config.seconds * _SECOND_US + spread_us))
    if config.until_field is not None:
        due = _field_due(config.until_field, begun_us, zone_of(zone_name), field)
        return due if due.at_us is None else Due(_bounded(due.at_us + spread_us))
    until = config.until
    zone = zone_of((until.timezone if until else None) or zone_name)
    if until is None or zone is None:
        return Due(None)
    earliest_us = begun_us + until.at_least_seconds * _SECOND_US
    wall = time(until.hour, until.minute)
    at_us = next_wall_time(earliest_us, wall, until.weekdays, zone)
    return Due(LATEST_US if at_us is None else _bounded(at_us + spread_us))


def _field_due(config: UntilField, begun_us: int, zone: tzinfo | None, field: Value) -> Due:
    at_us = _field_moment(field, zone)
    if at_us is None:
        return Due(None, config.if_missing, was_missing=True)
    at_us += config.offset_seconds * _SECOND_US
    return Due(None, config.if_past) if at_us < begun_us else Due(_bounded(at_us))


def _field_moment(field: Value, zone: tzinfo | None) -> int | None:
    """A time, or the beginning of a date where the contact lives."""
    short = type(field) is str and len(field) <= TIME_CHARACTERS_MAX
    if short and zone is not None and _DATE.fullmatch(field):
        try:
            return start_of_day(date.fromisoformat(field), zone)
        except (OverflowError, ValueError):
            return None
    return moment(field)


def _spread_us(seconds: int, seed: str) -> int:
    if not seconds:
        return 0
    digest = blake2b(seed.encode(), digest_size=8).digest()
    return int.from_bytes(digest) % (seconds * _SECOND_US + 1)


def _bounded(at_us: int) -> int:
    return min(at_us, LATEST_US)


def depends_on_contact_zone(config: DelayConfig) -> bool:
    """Whether a change of the contact's zone moves the end of the delay."""
    if config.until is not None:
        return config.until.timezone is None
    return config.until_field is not None
