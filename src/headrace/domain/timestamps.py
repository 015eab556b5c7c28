"""Points in time: microseconds since 1970 UTC inside, RFC 3339 with milliseconds outside."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?(?:[Zz]|([+-])(\d\d):(\d\d))",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_NAIVE = datetime(1970, 1, 1)  # noqa: DTZ001 - arithmetic on calendar fields only
_MICROSECOND = timedelta(microseconds=1)

#: First and last moment of RFC 3339 in UTC (years 0001 to 9999).
EARLIEST_US = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
LATEST_US = (datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC) - _EPOCH) // _MICROSECOND


def now_us() -> int:
    """The wall clock in microseconds since 1970."""
    return time.time_ns() // 1000


@lru_cache(maxsize=4096)
def _second_text(second: int) -> str:
    # Events of one moment share their second, so the calendar is computed once for many.
    return (_EPOCH_NAIVE + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")


def to_text(at_us: int) -> str:
    """RFC 3339 in UTC with milliseconds and `Z`; microseconds are truncated."""
    second, micro = divmod(at_us, 1_000_000)
    return f"{_second_text(second)}.{micro // 1000:03d}Z"


def parse(text: str) -> int:
    """Read RFC 3339 with an offset.

    Returns:
        Microseconds since 1970; digits past the sixth decimal are cut, and a leap second is the
        start of the next second.

    Raises:
        ValueError: with a sentence for the caller.
    """
    if _is_usual(text):
        try:
            return (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND
        except ValueError:
            pass
    match = _RFC3339.fullmatch(text)
    if match is None:
        message = "must be an RFC 3339 time with an offset, such as 2026-06-08T14:15:00Z"
        raise ValueError(message)
    year, month, day, hour, minute, second, fraction, sign, off_hour, off_minute = match.groups()
    # The library has no leap seconds: one becomes the second that follows it.
    is_leap = second == "60"
    try:
        naive = datetime(  # noqa: DTZ001 - the offset is applied to the integer below
            int(year), int(month), int(day), int(hour), int(minute), 59 if is_leap else int(second)
        )
    except ValueError as error:
        message = f"is not a valid date and time: {error}"
        raise ValueError(message) from None
    at_us = (naive - _EPOCH_NAIVE) // _MICROSECOND
    if is_leap:
        at_us += 1_000_000
    elif fraction:
        at_us += int(fraction[:6].ljust(6, "0"))
    if sign:
        at_us -= _offset_us(sign, int(off_hour), int(off_minute))
    if not EARLIEST_US <= at_us <= LATEST_US:
        message = "is outside the years 0001 to 9999 in UTC"
        raise ValueError(message)
    if is_leap and not _begins_month(at_us):
        message = (
            "has a leap second at a wrong time: leap seconds end the last day of a month in UTC"
        )
        raise ValueError(message)
    return at_us


def _is_usual(text: str) -> bool:
    """Whether it has the usual form; the library's parser in C checks the digits.

    That parser alone would also accept week dates and 24:00, which RFC 3339 does not have.
    """
    return (
        len(text) == 24
        and text[4] == "-"
        and text[7] == "-"
        and text[10] == "T"
        and text[13] == ":"
        and text[16] == ":"
        and text[19] == "."
        and text[23] == "Z"
        and text[11:13] != "24"
    )


def _begins_month(at_us: int) -> bool:
    day, rest = divmod(at_us, 86_400_000_000)
    return rest == 0 and (_EPOCH_NAIVE + timedelta(days=day)).day == 1


def _offset_us(sign: str, hours: int, minutes: int) -> int:
    if hours > 23 or minutes > 59:
        message = "has an invalid offset; the largest is 23:59"
        raise ValueError(message)
    offset_us = (hours * 60 + minutes) * 60_000_000
    return offset_us if sign == "+" else -offset_us
