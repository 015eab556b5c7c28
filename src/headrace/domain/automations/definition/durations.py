"""Durations in plain words and in ISO 8601."""

from __future__ import annotations

import re

from headrace.domain.automations.limits import SECONDS_MAX

_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
_WORDS = re.compile(r"([0-9]{1,9}) ?(minute|hour|day|week)s?")
_ISO = re.compile(
    r"P(?:(?P<week>[0-9]{1,9})W|(?=[0-9T])(?:(?P<day>[0-9]{1,9})D)?"
    r"(?:T(?=[0-9])(?:(?P<hour>[0-9]{1,9})H)?(?:(?P<minute>[0-9]{1,9})M)?"
    r"(?:(?P<second>[0-9]{1,9})S)?)?)"
)


def parse_duration(text: str) -> int:
    """Seconds of a text such as `3 days` or `PT30M`. A day is 86,400 seconds.

    Raises:
        ValueError: with a sentence for the caller.
    """
    if words := _WORDS.fullmatch(text):
        seconds = int(words[1]) * _UNITS[words[2]]
    elif iso := _ISO.fullmatch(text):
        parts = iso.groupdict(default="0").items()
        seconds = sum(int(count) * _UNITS[unit] for unit, count in parts)
    else:
        message = (
            "must be a number of minutes, hours, days or weeks such as '3 days', "
            "or a duration of ISO 8601 such as PT30M"
        )
        raise ValueError(message)
    if not 1 <= seconds <= SECONDS_MAX:
        message = f"must be from 1 second to {SECONDS_MAX} seconds (365 days), got {seconds}"
        raise ValueError(message)
    return seconds
