"""Durations as typed: `90s`, `15m`, `12h`, `30d`, `4w`."""

from __future__ import annotations

import re

from headrace.cli.shared.failure import usage

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION = re.compile(r"([1-9][0-9]{0,8})([smhdw])", re.ASCII)
#: A century; anything longer is a typing error.
SECONDS_MAX = 100 * 366 * 86400


def duration_us(text: str) -> int:
    """Parse a duration; returns microseconds.

    Raises:
        CommandFailed: it is not a duration.
    """
    match = _DURATION.fullmatch(text)
    seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
    if not 1 <= seconds <= SECONDS_MAX:
        raise usage(f"{text!r} is not a duration; use for example 90s, 15m, 12h, 30d or 4w")
    return seconds * 1_000_000
