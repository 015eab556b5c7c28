"""Fields of a webhook as a caller sends them."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.domain.deliveries.body_format import BodyFormat, check_format
from headrace.domain.deliveries.dead_letters import read_per_second
from headrace.domain.deliveries.own_headers import WantedHeaders, check_headers
from headrace.domain.deliveries.subscriptions import check_patterns
from headrace.domain.events.problems import read_object
from headrace.domain.json_fields import FieldReader, kind_of, text_problem
from headrace.domain.labels import check_description

MEMBERS = ("url", "events", "description", "enabled", "paused", "headers", "format")
_CHANGE_MEMBERS = (*MEMBERS, "per_second")


class WebhookFields(msgspec.Struct, frozen=True, kw_only=True):
    """The fields sent; None: absent. The URL is not checked yet."""

    url: str | None
    events: tuple[str, ...] | None
    description: str | None
    enabled: bool | None
    paused: bool | None
    per_second: int | None
    #: None as a value keeps the stored one; only in a change.
    headers: WantedHeaders | None
    format: BodyFormat | None


def decode_webhook(body: bytes, *, required: bool) -> tuple[WebhookFields, FieldReader]:
    """Read a body.

    Args:
        body: JSON text.
        required: whether it is a new webhook: `url` and `events` are required.

    Returns:
        The fields, and the problems so far: the caller checks the URL, adds to them and raises.

    Raises:
        ApiError: 400 if it is not a JSON object.
    """
    members = MEMBERS if required else _CHANGE_MEMBERS
    check = FieldReader(read_object(body), members, "a webhook")
    if required:
        check.require("url", "events")
    fields = WebhookFields(
        url=check.text("url", str),
        events=_events(check),
        description=check.text("description", check_description),
        enabled=check.flag("enabled"),
        paused=check.flag("paused"),
        per_second=None if required else _per_second(check),
        headers=_headers(check, stored=not required),
        format=check.text("format", check_format),
    )
    return fields, check


def reject_fields(body: bytes, what: str) -> None:
    """Check the body of a request without fields: empty, or an empty object.

    Raises:
        ApiError: 400, or 422 naming the members.
    """
    if body:
        FieldReader(read_object(body), (), what).raise_if_any()


def _headers(check: FieldReader, *, stored: bool) -> WantedHeaders | None:
    value: Any = check.members.get("headers")
    if value is None:
        return None
    if not isinstance(value, dict):
        check.add("headers", f"must be an object, got {kind_of(value)}")
        return None
    return check_headers(value, check.add, stored=stored)


def _per_second(check: FieldReader) -> int | None:
    if check.members.get("per_second") is None:
        return None
    if check.members.get("paused") is not False:
        check.add("per_second", "can only be sent with paused: false")
    return read_per_second(check)


def _events(check: FieldReader) -> tuple[str, ...] | None:
    value: Any = check.members.get("events")
    if value is None:
        return None
    if not isinstance(value, list):
        check.add("events", f"must be an array of strings, got {kind_of(value)}")
        return None
    problems = [(index, text_problem(item)) for index, item in enumerate(value)]
    wrong = [(index, problem) for index, problem in problems if problem is not None]
    for index, problem in wrong:
        check.add(f"events[{index}]", problem)
    if wrong:
        return None
    patterns, found = check_patterns(value)
    for one in found:
        check.add(one.field, one.message)
    return patterns
