"""When an event happened, by the clock of a client."""

from __future__ import annotations

import math
import re
from enum import StrEnum
from typing import Any

import msgspec

from headrace.domain.events.fields import FUTURE_MAX_US
from headrace.domain.timestamps import EARLIEST_US, LATEST_US, parse

#: A difference between two clocks that is not corrected: as long as a request may take.
SKEW_US = 60_000_000
#: Numbers from here on are milliseconds; as seconds they would be past the year 5000.
_MILLISECONDS_FROM = 1e11
#: Between date and time some write a blank, and some leave the offset out.
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)\s?([Zz]|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII,
)
_CHARACTERS_MAX = 64


class ClockCorrection(StrEnum):
    """Whether times are corrected by the difference between the clocks of client and server."""

    #: For browsers; for others only what no delay can cause, a clock ahead of the server's.
    BROWSER = "browser"
    ALWAYS = "always"
    NEVER = "never"


class Clock(msgspec.Struct, frozen=True, gc=False):
    """What a correction depends on."""

    now_us: int
    correction: ClockCorrection
    #: Whether the request comes from a browser.
    is_browser: bool
    #: When the client sent the request, by its own clock; None when it did not say so.
    sent_us: int | None = None

    def corrected(self, at_us: int, sent_us: int | None) -> int | None:
        """A time of the client as the server's clock would show it.

        A batch that is sent again after an outage may still name the time of its first attempt, so
        an early `sent_us` does not prove that the clock is wrong.

        Args:
            sent_us: of the message, when it has one of its own.

        Returns:
            None when the time cannot be right: it is out of range or more than a day ahead.
        """
        sent_us = self.sent_us if sent_us is None else sent_us
        if sent_us is not None and self._is_wrong(self.now_us - sent_us):
            at_us += self.now_us - sent_us
        if not EARLIEST_US <= at_us <= self.now_us + FUTURE_MAX_US:
            return None
        return at_us

    def _is_wrong(self, skew_us: int) -> bool:
        if self.correction is ClockCorrection.BROWSER:
            return abs(skew_us) >= SKEW_US if self.is_browser else skew_us < -SKEW_US
        return self.correction is ClockCorrection.ALWAYS


def read_time(value: Any) -> int | None:
    """Read a time in any form that clients send.

    A text is a date or a date and time, UTC without an offset. A number counts seconds or
    milliseconds since 1970, whichever gives a plausible year.

    Returns:
        Microseconds since 1970; None when it cannot be read.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return _of_number(value)
    if not isinstance(value, str) or len(value) > _CHARACTERS_MAX:
        return None
    try:
        return parse(value)
    except ValueError:
        return _of_text(value.strip())


def _of_number(number: float) -> int | None:
    if not abs(number) < 1e18 or not math.isfinite(number):
        return None
    unit = 1000 if abs(number) >= _MILLISECONDS_FROM else 1_000_000
    at_us = round(number * unit)
    return at_us if EARLIEST_US <= at_us <= LATEST_US else None


def _of_text(text: str) -> int | None:
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    date, time, offset = found.groups()
    time = (time or "00:00:00").replace(",", ".")
    if time.count(":") == 1:
        time += ":00"
    offset = offset or "Z"
    if offset not in "Zz":
        digits = offset[1:].replace(":", "").ljust(4, "0")
        offset = f"{offset[0]}{digits[:2]}:{digits[2:]}"
    try:
        return parse(f"{date}T{time}{offset}")
    except ValueError:
        return None
