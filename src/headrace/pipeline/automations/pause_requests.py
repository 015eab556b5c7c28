"""Requests that pause and resume automations, checked."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

import msgspec

from headrace.domain.automations.limits import SECONDS_MAX
from headrace.domain.events.problems import read_object
from headrace.domain.json_fields import FieldReader
from headrace.pipeline.automations.run_requests import whole_number
from headrace.store.contract.automations import Overdue, PauseMode

E = TypeVar("E", bound=StrEnum)

LATE_SECONDS_MAX = SECONDS_MAX


class ResumeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A checked request to resume."""

    overdue: Overdue
    max_late_seconds: int
    dry_run: bool


def read_pause(body: bytes) -> PauseMode:
    """Decode and check how to pause.

    Raises:
        ApiError: with every problem listed.
    """
    check = FieldReader(read_object(body), ("mode",), "a pause")
    mode = check.text("mode", _one_of(PauseMode))
    check.raise_if_any()
    return mode or PauseMode.DRAIN


def read_resume(body: bytes) -> ResumeRequest:
    """Decode and check how to resume.

    Raises:
        ApiError: with every problem listed.
    """
    known = ("overdue", "max_late_seconds", "dry_run")
    check = FieldReader(read_object(body), known, "a resumption")
    overdue = check.text("overdue", _one_of(Overdue))
    late = whole_number(check, "max_late_seconds", 0, LATE_SECONDS_MAX)
    dry_run = check.flag("dry_run")
    check.raise_if_any()
    return ResumeRequest(
        overdue=overdue or Overdue.RUN, max_late_seconds=late or 0, dry_run=dry_run is True
    )


def _one_of(kind: type[E]) -> Callable[[str], E]:
    def check(text: str) -> E:
        try:
            return kind(text)
        except ValueError:
            message = f"must be one of {', '.join(kind)}"
            raise ValueError(message) from None

    return check
