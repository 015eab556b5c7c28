"""Requests that change runs, checked."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from headrace.domain import timestamps
from headrace.domain.automations.limits import KEY_CHARACTERS_MAX, STEPS_MAX
from headrace.domain.automations.running.states import RunStatus
from headrace.domain.events.fields import check_contact_id
from headrace.domain.events.problems import read_object
from headrace.domain.json_fields import FieldReader, kind_of
from headrace.domain.json_text import Number
from headrace.domain.labels import DESCRIPTION_CHARACTERS_MAX, check_description
from headrace.store.contract.automations import BULK_RUNS_MAX, VERSIONS_MAX, Migration, RunFilter

STEP_KEY_PATTERN = rf"[a-z0-9_]{{1,{KEY_CHARACTERS_MAX}}}"
REASON_CHARACTERS_MAX = DESCRIPTION_CHARACTERS_MAX
_STEP_KEY = re.compile(STEP_KEY_PATTERN)


class BulkRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A checked request to change many runs."""

    wanted: RunFilter
    dry_run: bool
    #: None for a dry run.
    reason: str | None
    limit: int


def check_reason(text: str) -> str:
    """Return a reason without surrounding white space.

    Raises:
        ValueError: with a sentence for the caller.
    """
    stripped = check_description(text).strip()
    if not stripped:
        message = "must not be empty"
        raise ValueError(message)
    return stripped


def check_step_key(text: str) -> str:
    """Return the key of a step unchanged.

    Raises:
        ValueError: with a sentence for the caller.
    """
    if _STEP_KEY.fullmatch(text) is None:
        message = f"must be the key of a step: 1 to {KEY_CHARACTERS_MAX} of a-z, 0-9, _"
        raise ValueError(message)
    return text


def check_status(text: str) -> RunStatus:
    """The status of that name.

    Raises:
        ValueError: with a sentence for the caller.
    """
    try:
        return RunStatus(text)
    except ValueError:
        message = f"must be one of {', '.join(RunStatus)}"
        raise ValueError(message) from None


def read_reason(body: bytes, what: str, *more: str) -> FieldReader:
    """Decode a body with a reason; the caller reads the other fields and raises.

    Args:
        what: it is, for messages: `a cancellation`.
        more: names of the other fields.
    """
    check = FieldReader(read_object(body), ("reason", *more), what)
    check.require("reason")
    return check


def read_bulk(body: bytes, what: str) -> BulkRequest:
    """Decode and check a request to change many runs.

    Raises:
        ApiError: with every problem listed.
    """
    check = FieldReader(read_object(body), ("filter", "dry_run", "reason", "limit"), what)
    wanted = _filter(check)
    dry_run = check.flag("dry_run") is True
    if not dry_run:
        check.require("reason")
    reason = check.text("reason", check_reason)
    limit = whole_number(check, "limit", 1, BULK_RUNS_MAX)
    check.raise_if_any()
    return BulkRequest(
        wanted=wanted,
        dry_run=dry_run,
        reason=reason,
        limit=BULK_RUNS_MAX if limit is None else limit,
    )


class MigrationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A checked request to move runs to another version."""

    wanted: Migration
    dry_run: bool
    #: None for a dry run.
    reason: str | None


def read_migration(body: bytes) -> MigrationRequest:
    """Decode and check a request to move runs to another version.

    Raises:
        ApiError: with every problem listed.
    """
    known = ("from_version", "to_version", "steps", "dry_run", "reason")
    check = FieldReader(read_object(body), known, "a migration")
    check.require("from_version", "to_version")
    first = whole_number(check, "from_version", 1, VERSIONS_MAX)
    last = whole_number(check, "to_version", 1, VERSIONS_MAX)
    steps = object_of(check, "steps", check_step_key)
    if steps is not None and len(steps) > STEPS_MAX:
        check.add("steps", f"must have at most {STEPS_MAX} entries")
    dry_run = check.flag("dry_run") is True
    if not dry_run:
        check.require("reason")
    reason = check.text("reason", check_reason)
    check.raise_if_any()
    wanted = Migration(from_version=first or 0, to_version=last or 0, steps=steps)
    return MigrationRequest(wanted=wanted, dry_run=dry_run, reason=reason)


def _filter(check: FieldReader) -> RunFilter:
    sent: Any = check.members.get("filter")
    if not isinstance(sent, dict):
        # Leaving something out must not change everything.
        found = "is required; {} means every run" if sent is None else _not_an_object(sent)
        check.add("filter", found)
        return RunFilter()
    known = ("status", "version", "at_step", "contact_id", "started_before")
    inner = FieldReader(sent, known, "a filter", inside=check, path="filter")
    return RunFilter(
        status=inner.text("status", check_status),
        version=whole_number(inner, "version", 1, VERSIONS_MAX),
        at_step=inner.text("at_step", check_step_key),
        contact_id=inner.text("contact_id", check_contact_id),
        started_before_us=inner.text("started_before", timestamps.parse),
    )


def whole_number(check: FieldReader, field: str, low: int, high: int) -> int | None:
    """A member that must be a whole number; None when absent, null or wrong."""
    sent = check.members.get(field)
    if sent is None:
        return None
    wanted = f"must be a whole number from {low} to {high}"
    if not isinstance(sent, Number):
        check.add(field, f"{wanted}, got {kind_of(sent)}")
    elif not (sent.isascii() and sent.isdigit() and len(sent) < 10 and low <= int(sent) <= high):
        check.add(field, wanted)
    else:
        return int(sent)
    return None


def object_of(check: FieldReader, field: str, rule: Callable[[str], str]) -> dict[str, str] | None:
    """A member that must be an object of strings; None when absent, null or wrong."""
    sent = check.members.get(field)
    if sent is None:
        return None
    if not isinstance(sent, dict):
        check.add(field, _not_an_object(sent))
        return None
    inner = FieldReader(sent, tuple(sent), "an object", inside=check, path=field)
    found = {name: inner.text(name, rule) for name in sent}
    return {name: value for name, value in found.items() if value is not None}


def _not_an_object(sent: Any) -> str:
    return f"must be an object, got {kind_of(sent)}"
