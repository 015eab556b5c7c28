"""Requests about dead letters: filters, a reason to discard, a replay of many."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from headrace.domain.errors import ApiError, FieldProblem, invalid
from headrace.domain.events.fields import check_contact_id, check_event_name
from headrace.domain.events.problems import read_object
from headrace.domain.json_fields import FieldReader, kind_of
from headrace.domain.json_text import Number

KINDS = ("processing", "delivery", "automation")
CAUSE_CHARACTERS_MAX = 100
#: Why deliveries, runs of automations and events fail for good. Processing has names of Python's
#: exceptions besides.
CAUSES = (
    *("rejected", "gone", "redirected", "throttled", "server_error", "protocol_error"),
    *("url_refused", "address_refused", "name_not_resolved", "connect_failed", "tls_failed"),
    *("connection_lost", "deadline_exceeded", "secret_unusable", "secret_sealed"),
    *("handler_raised", "handler_permanent", "handler_missing", "handler_died", "handler_stuck"),
    *("internal", "worker_lost", "crash_loop", "poison"),
    *("subscriber_disabled", "subscriber_deleted", "restored", "step_failed"),
)
#: A few names of exceptions are lower-case: those of `struct` and `zlib` are just `error`.
CAUSE_PATTERN = rf"(?:{'|'.join(CAUSES)}|error|[A-Z][A-Za-z0-9_.]*)"
REASON_CHARACTERS_MAX = 500
PER_SECOND_DEFAULT = 100
PER_SECOND_MAX = 1000

_CAUSE = re.compile(CAUSE_PATTERN)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def check_cause(text: str) -> str:
    """Return the text unchanged.

    Raises:
        ValueError: no dead letter can have this cause.
    """
    if len(text) > CAUSE_CHARACTERS_MAX or _CAUSE.fullmatch(text) is None:
        known = ", ".join(CAUSES)
        message = f"must be one of {known}, or the name of an error such as StoreRowError"
        raise ValueError(message)
    return text


def check_kind(text: str) -> str:
    """Return the text unchanged."""
    if text not in KINDS:
        message = f"must be one of {', '.join(KINDS)}"
        raise ValueError(message)
    return text


def check_reason(text: str) -> str:
    """Return the text without surrounding white space."""
    stripped = text.strip()
    # White space counts, as it does in the published schema.
    if not stripped or len(text) > REASON_CHARACTERS_MAX:
        length = len(text) if stripped else 0
        message = f"must be 1 to {REASON_CHARACTERS_MAX} characters, got {length}"
        raise ValueError(message)
    if _CONTROL.search(text):
        message = "must not contain control characters"
        raise ValueError(message)
    return stripped


def check_per_second(text: str) -> int:
    """The number of a text."""
    if text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= PER_SECOND_MAX:
        return int(text)
    message = f"must be a whole number from 1 to {PER_SECOND_MAX}"
    raise ValueError(message)


#: Filter and its rule.
FILTERS: dict[str, Callable[[str], str]] = {
    "event": check_event_name,
    "subscriber_id": check_contact_id,
    "cause": check_cause,
    "kind": check_kind,
}


class ReplayRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A checked request to replay many."""

    #: Checked values by name of filter.
    wanted: dict[str, str]
    dry_run: bool
    per_second: int


def read_reason(body: bytes, what: str = "a discard") -> str:
    """Decode and check a body with a reason.

    Args:
        what: it is, for messages.

    Raises:
        ApiError: with every problem listed.
    """
    check = FieldReader(read_object(body), ("reason",), what)
    if check.members.get("reason") is None:
        check.add("reason", "is required: it is shown in the trace")
    reason = check.text("reason", check_reason)
    check.raise_if_any()
    assert reason is not None
    return reason


def read_replay(body: bytes) -> ReplayRequest:
    """Decode and check the body of a replay of many.

    Raises:
        ApiError: with every problem listed.
    """
    check = FieldReader(read_object(body), ("filter", "dry_run", "per_second"), "a replay")
    wanted = _filter(check)
    dry_run = check.members.get("dry_run")
    if dry_run is not None and not isinstance(dry_run, bool):
        check.add("dry_run", f"must be a boolean, got {kind_of(dry_run)}")
    per_second = read_per_second(check)
    check.raise_if_any()
    return ReplayRequest(wanted=wanted, dry_run=dry_run is True, per_second=per_second)


def _filter(check: FieldReader) -> dict[str, str]:
    sent: Any = check.members.get("filter")
    if sent is None:
        # Leaving something out must not replay everything.
        check.add("filter", "is required; {} means every dead letter of the project")
        return {}
    if not isinstance(sent, dict):
        check.add("filter", f"must be an object, got {kind_of(sent)}")
        return {}
    inner = FieldReader(sent, tuple(FILTERS), "a filter")
    values = {name: inner.text(name, rule) for name, rule in FILTERS.items()}
    try:
        inner.raise_if_any()
    except ApiError as error:
        for problem in error.details:
            check.add(f"filter.{problem.field}", problem.message)
    return {name: value for name, value in values.items() if value is not None}


def read_per_second(check: FieldReader) -> int:
    """The rate of a job."""
    sent = check.members.get("per_second")
    if sent is None:
        return PER_SECOND_DEFAULT
    if not isinstance(sent, Number):
        check.add("per_second", f"must be a number, got {kind_of(sent)}")
        return PER_SECOND_DEFAULT
    try:
        return check_per_second(sent)
    except ValueError as error:
        check.add("per_second", str(error))
        return PER_SECOND_DEFAULT


def check_filter(given: dict[str, str]) -> dict[str, str]:
    """Check filters that come as texts, of a query or a command line.

    Raises:
        ApiError: 422 with every problem.
    """
    values: dict[str, str] = {}
    problems: list[FieldProblem] = []
    for name, rule in FILTERS.items():
        if name not in given:
            continue
        try:
            values[name] = rule(given[name])
        except ValueError as error:
            problems.append(FieldProblem(name, str(error)))
    if problems:
        raise invalid(*problems)
    return values
