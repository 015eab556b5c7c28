"""Bodies of the requests that look at a template or try it: preview, test send, restore."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.domain.events.fields import check_contact_id
from headrace.domain.events.problems import read_object
from headrace.domain.json_fields import FieldReader, kind_of
from headrace.domain.json_text import Number
from headrace.domain.messages.addresses import Mailbox, parse_mailbox
from headrace.domain.messages.email_request import read_variables

#: Addresses of one test send.
TEST_RECIPIENTS_MAX = 10
_VERSION_DIGITS_MAX = 9


class PreviewRequest(msgspec.Struct, frozen=True, kw_only=True):
    """With whose data a template is to be shown."""

    contact_id: str | None = None
    variables: dict[str, Any] = {}
    #: None: the draft.
    version_number: int | None = None


class TestSendRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Where a draft is sent as a test, and with whose data."""

    sender: Mailbox
    to: tuple[Mailbox, ...]
    contact_id: str | None = None
    variables: dict[str, Any] = {}


def decode_preview(body: bytes) -> PreviewRequest:
    """Decode the body of `POST /templates/{id}/preview`.

    Raises:
        ApiError: with every problem listed.
    """
    known = ("contact_id", "variables", "version_number")
    check = FieldReader(read_object(body), known, "a preview")
    request = PreviewRequest(
        contact_id=check.text("contact_id", check_contact_id),
        variables=read_variables(check) or {},
        version_number=_version_number(check),
    )
    check.raise_if_any()
    return request


def decode_test_send(body: bytes) -> TestSendRequest:
    """Decode the body of `POST /templates/{id}/test-send`.

    Raises:
        ApiError: with every problem listed.
    """
    known = ("from", "to", "contact_id", "variables")
    check = FieldReader(read_object(body), known, "a test send")
    check.require("from", "to")
    to = check.texts("to", TEST_RECIPIENTS_MAX, parse_mailbox)
    if to == [] and check.members.get("to") == []:
        check.add("to", "must name at least one address")
    request = TestSendRequest(
        sender=check.text("from", parse_mailbox) or Mailbox(""),
        to=tuple({one.address: one for one in to or ()}.values()),
        contact_id=check.text("contact_id", check_contact_id),
        variables=read_variables(check) or {},
    )
    check.raise_if_any()
    return request


def decode_restore(body: bytes) -> int:
    """Decode the body of `POST /templates/{id}/restore`: the number of a version.

    Raises:
        ApiError: with every problem listed.
    """
    check = FieldReader(read_object(body), ("version_number",), "a restore")
    check.require("version_number")
    number = _version_number(check)
    check.raise_if_any()
    return number or 0


def _version_number(check: FieldReader) -> int | None:
    value = check.members.get("version_number")
    if value is None:
        return None
    if isinstance(value, Number) and value.isdigit() and len(value) <= _VERSION_DIGITS_MAX:
        return int(value)
    shown = "" if isinstance(value, Number) else f", got {kind_of(value)}"
    check.add("version_number", f"must be the number of a version{shown}")
    return None
