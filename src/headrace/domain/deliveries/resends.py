"""Requests to send events to a webhook again: those named, or those of a time range."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.domain.deliveries.dead_letters import read_per_second
from headrace.domain.deliveries.subscriptions import check_filter
from headrace.domain.events.fields import check_contact_id
from headrace.domain.events.problems import read_object
from headrace.domain.ids import sequence_of_id
from headrace.domain.json_fields import FieldReader, kind_of, text_problem
from headrace.domain.timestamps import parse

#: Events that one request can name.
EVENT_IDS_MAX = 1000

_MEMBERS = ("event_ids", "from", "to", "event", "only_failed", "dry_run", "per_second")


class ResendRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A checked request; either `event_ids` or `from_us` is set."""

    #: UUID texts in the order of receipt.
    event_ids: tuple[str, ...]
    from_us: int | None
    #: None: now.
    to_us: int | None
    event: str | None
    only_failed: bool
    dry_run: bool
    per_second: int


def read_resend(body: bytes) -> ResendRequest:
    """Decode and check the body.

    Raises:
        ApiError: with every problem listed.
    """
    check = FieldReader(read_object(body), _MEMBERS, "a request to send events again")
    ids, from_us = _event_ids(check), check.text("from", parse)
    to_us, event = check.text("to", parse), check.text("event", check_filter)
    named = check.members.get("event_ids") is not None
    for name in ("from", "to", "event"):
        if named and check.members.get(name) is not None:
            check.add(name, "cannot be combined with event_ids")
    if not named and check.members.get("from") is None:
        check.add("from", "is required without event_ids: the first time of receipt")
    if from_us is not None and to_us is not None and from_us >= to_us:
        check.add("to", "must be after from")
    only_failed, dry_run = check.flag("only_failed"), check.flag("dry_run")
    per_second = read_per_second(check)
    check.raise_if_any()
    return ResendRequest(
        event_ids=ids,
        from_us=from_us,
        to_us=to_us,
        event=event,
        only_failed=only_failed is True,
        dry_run=dry_run is True,
        per_second=per_second,
    )


def _event_ids(check: FieldReader) -> tuple[str, ...]:
    sent: Any = check.members.get("event_ids")
    if sent is None:
        return ()
    if not isinstance(sent, list):
        check.add("event_ids", f"must be an array of strings, got {kind_of(sent)}")
        return ()
    if not 1 <= len(sent) <= EVENT_IDS_MAX:
        check.add("event_ids", f"must have 1 to {EVENT_IDS_MAX} items, got {len(sent)}")
        return ()
    ids: set[str] = set()
    for index, item in enumerate(sent):
        problem = text_problem(item)
        try:
            if problem is None:
                ids.add(check_contact_id(item))
        except ValueError as error:
            problem = str(error)
        if problem is not None:
            check.add(f"event_ids[{index}]", problem)
    return in_order_of_receipt(ids)


def in_order_of_receipt(event_ids: set[str]) -> tuple[str, ...]:
    """Ids (UUID texts) by the sequence inside them."""
    return tuple(
        sorted(
            event_ids, key=lambda each: (sequence_of_id(bytes.fromhex(each.replace("-", ""))), each)
        )
    )
