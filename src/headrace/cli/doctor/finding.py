"""One line of the doctor's report."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Level(StrEnum):
    """Severity of a finding."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(msgspec.Struct, frozen=True):
    """What was checked, its state, and advice; empty when all is well."""

    check: str
    level: Level
    found: str
    advice: str = ""


def ok(check: str, found: str) -> Finding:
    """A finding that needs no action."""
    return Finding(check, Level.OK, found)


def warn(check: str, found: str, advice: str) -> Finding:
    """A finding that works but needs attention."""
    return Finding(check, Level.WARN, found, advice)


def fail(check: str, found: str, advice: str) -> Finding:
    """A finding that does not work, or is not to be relied on."""
    return Finding(check, Level.FAIL, found, advice)
