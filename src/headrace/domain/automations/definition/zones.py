"""Time zones by IANA name, and wall times across changes of the offset."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from headrace.domain.automations.limits import TIME_CHARACTERS_MAX
from headrace.domain.errors import echo
from headrace.domain.timestamps import LATEST_US

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+){0,2}")
#: Other files in the folder of zones, and folders of other sets of them.
_NO_ZONES = frozenset({"localtime", "posixrules", "Factory", "posix", "right"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SECOND_US = 1_000_000


@lru_cache(maxsize=1024)
def zone_of(name: str) -> tzinfo | None:
    """The zone of that name; None when there is none."""
    if name == "UTC":
        return UTC
    if len(name) > TIME_CHARACTERS_MAX or not _NAME.fullmatch(name):
        return None
    if name.partition("/")[0] in _NO_ZONES:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        # Unknown, a folder, or a file that is not a zone.
        return None


def check_zone(name: str) -> str:
    """Return the name unchanged.

    Raises:
        ValueError: there is no such zone, with a sentence for the caller.
    """
    if zone_of(name) is None:
        message = f"'{echo(name)}' is not an IANA time zone such as Europe/Berlin"
        raise ValueError(message)
    return name


def at_wall_time(day: date, wall: time, zone: tzinfo) -> int:
    """When a wall clock of the zone shows that time, in microseconds since 1970.

    A time that does not exist, because clocks are set forward, becomes the first one after the gap;
    a time that exists twice is the first.

    Raises:
        OverflowError: outside the years that a calendar has.
    """
    naive = datetime.combine(day, wall)
    first = naive.replace(tzinfo=zone, fold=0)
    at_us = _microseconds(first)
    if _local(at_us, zone) == naive:
        return at_us
    # In a gap: with the offset after the change, the wall time is before the change.
    early_us = _microseconds(naive.replace(tzinfo=zone, fold=1))
    return _change_between(early_us, at_us, zone)


def _change_between(low_us: int, high_us: int, zone: tzinfo) -> int:
    """First moment after the change of the offset between the two; always a full second."""
    low, high = low_us // _SECOND_US, high_us // _SECOND_US
    before = _offset(low * _SECOND_US, zone)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(middle * _SECOND_US, zone) == before:
            low = middle
        else:
            high = middle
    return high * _SECOND_US


def local_time(at_us: int, zone: tzinfo) -> datetime:
    """The naive wall time in the zone."""
    return _local(at_us, zone)


def next_wall_time(from_us: int, wall: time, weekdays: frozenset[int], zone: tzinfo) -> int | None:
    """First moment not before `from_us` at which the clock shows `wall` on one of the weekdays.

    Args:
        from_us: microseconds since 1970.
        weekdays: Monday is 0; empty: any day.

    Returns:
        None when the calendar ends before.
    """
    try:
        # A day earlier: a time of yesterday that did not exist may have moved to today.
        day = _local(from_us, zone).date() - timedelta(days=1)
        for _ in range(10):
            if not weekdays or day.weekday() in weekdays:
                at_us = at_wall_time(day, wall, zone)
                if at_us >= from_us:
                    return at_us
            day += timedelta(days=1)
    except OverflowError:
        return None
    return None


def start_of_day(day: date, zone: tzinfo) -> int:
    """When a day begins in the zone; not always at midnight.

    Raises:
        OverflowError: outside the years that a calendar has.
    """
    return at_wall_time(day, time(0), zone)


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _local(at_us: int, zone: tzinfo) -> datetime:
    at_us = min(at_us, LATEST_US)
    return (_EPOCH + timedelta(microseconds=at_us)).astimezone(zone).replace(tzinfo=None)


def _offset(at_us: int, zone: tzinfo) -> timedelta | None:
    return (_EPOCH + timedelta(microseconds=at_us)).astimezone(zone).utcoffset()
