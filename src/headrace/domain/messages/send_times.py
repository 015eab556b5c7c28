"""Times at which a message may be sent: quiet hours and send windows in the contact's zone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ZONE_CHARACTERS_MAX = 64
#: Rules repeat every week; the first allowed moment is within a week, or there is none.
_DAYS = 8

_ZONE = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+){0,3}")
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class QuietHours:
    """Local times between which nothing is sent; an end before the start is on the next day."""

    start: time
    end: time


@dataclass(frozen=True, kw_only=True, slots=True)
class SendWindow:
    """Local times of weekdays outside which nothing is sent; 0 is Monday."""

    weekdays: frozenset[int]
    start: time
    #: Midnight means the end of the day.
    end: time


def parse_clock(text: str) -> time:
    """Read `HH:MM`; `24:00` is midnight.

    Raises:
        ValueError: with a sentence for the operator.
    """
    match = _CLOCK.fullmatch("00:00" if text == "24:00" else text)
    if match is None:
        raise ValueError("must be a time of day such as 21:30")
    return time(int(match[1]), int(match[2]))


@lru_cache(maxsize=1024)
def find_zone(name: str) -> ZoneInfo | None:
    """The IANA time zone of that name; None when there is none."""
    if len(name) > ZONE_CHARACTERS_MAX or _ZONE.fullmatch(name) is None:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        # A folder of the database, such as `Europe`, is an OSError.
        return None


def choose_zone(candidates: Iterable[object], default: str) -> ZoneInfo:
    """The zone of the first candidate that names one, else the default."""
    for name in (*candidates, default, "UTC"):
        zone = find_zone(name) if isinstance(name, str) else None
        if zone is not None:
            return zone
    raise LookupError("the system has no time zone database")


def is_quiet(at_us: int, zone: ZoneInfo, quiet: QuietHours) -> bool:
    """Whether a moment is in quiet hours by wall-clock time."""
    clock = _local(at_us, zone).time()
    if quiet.start <= quiet.end:
        return quiet.start <= clock < quiet.end
    return clock >= quiet.start or clock < quiet.end


def in_window(at_us: int, zone: ZoneInfo, windows: Iterable[SendWindow]) -> bool:
    """Whether a moment is in one of the windows by wall-clock time."""
    local = _local(at_us, zone)
    clock = local.time()
    return any(
        local.weekday() in one.weekdays
        and one.start <= clock
        and (clock < one.end or one.end == time(0))
        for one in windows
    )


def first_allowed_us(
    now_us: int, zone: ZoneInfo, quiet: QuietHours | None, windows: tuple[SendWindow, ...]
) -> int | None:
    """The first moment from now on that is not quiet and in a window (if there are any).

    Where the clock skips the end of quiet hours, the moment is late by at most the skip; where an
    hour repeats, both are quiet. None when the rules leave no moment of the week.
    """

    def allowed(at_us: int) -> bool:
        if quiet is not None and is_quiet(at_us, zone, quiet):
            return False
        return not windows or in_window(at_us, zone, windows)

    if allowed(now_us):
        return now_us
    starts = {one.start for one in windows} | ({quiet.end} if quiet is not None else set())
    later = sorted(at_us for at_us in _moments(now_us, zone, starts) if at_us > now_us)
    return next((at_us for at_us in later if allowed(at_us)), None)


def next_midnight_us(now_us: int, zone: ZoneInfo) -> int:
    """When the next day begins in a zone."""
    tomorrow = _local(now_us, zone).date() + timedelta(days=1)
    return _to_us(datetime.combine(tomorrow, time(0), tzinfo=zone))


def _moments(now_us: int, zone: ZoneInfo, clocks: set[time]) -> Iterator[int]:
    today: date = _local(now_us, zone).date()
    for days in range(_DAYS + 1):
        for clock in clocks:
            local = datetime.combine(today + timedelta(days=days), clock, tzinfo=zone)
            yield _to_us(local)
            yield _to_us(local.replace(fold=1))


def _local(at_us: int, zone: ZoneInfo) -> datetime:
    return (_EPOCH + at_us * _MICROSECOND).astimezone(zone)


def _to_us(local: datetime) -> int:
    return (local.astimezone(UTC) - _EPOCH) // _MICROSECOND
