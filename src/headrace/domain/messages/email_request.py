"""The body of `POST /emails`: strict, with every problem at once."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any

import msgspec

from headrace.domain import timestamps
from headrace.domain.contacts.properties import read_number
from headrace.domain.errors import echo
from headrace.domain.events.fields import check_contact_id, check_idempotency_key
from headrace.domain.events.problems import read_object
from headrace.domain.json_fields import FieldReader, kind_of, text_problem
from headrace.domain.json_text import Number
from headrace.domain.messages.addresses import Mailbox, parse_mailbox
from headrace.domain.messages.header_rules import (
    HEADERS_MAX,
    check_header,
    check_header_value,
)
from headrace.domain.messages.kinds import MessageKind

RECIPIENTS_MAX = 50
REPLY_TO_MAX = 10
AUDIENCES_MAX = 20
ATTACHMENTS_MAX = 20
TAGS_MAX = 50
TAG_CHARACTERS_MAX = 256
FILE_NAME_CHARACTERS_MAX = 255
#: Authored bodies; the composed mail has a limit of its own.
BODY_BYTES_MAX = 2 * 1024 * 1024
ATTACHMENTS_BYTES_MAX = 10 * 1024 * 1024
VARIABLES_BYTES_MAX = 64 * 1024
VARIABLES_DEPTH_MAX = 8
SCHEDULE_MAX_US = 366 * 86_400 * 1_000_000
PER_SECOND_MAX = 10_000
BATCH_MAX = 1000

MEMBERS = (
    *("from", "to", "subject", "text", "html", "cc", "bcc", "reply_to", "headers", "tags"),
    *("attachments", "template_version_id", "variables", "contact_id", "topic_id", "kind"),
    *("scheduled_at", "idempotency_key", "track_opens", "track_clicks"),
    *("audiences", "excluded_audiences", "dry_run", "per_second"),
)
_ATTACHMENT_MEMBERS = ("name", "type", "data")
_TAG_MEMBERS = ("name", "value")
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")
_TAG_NAME = re.compile(r"[A-Za-z0-9_-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a mail."""

    name: str
    #: Media type, lower case, without parameters.
    type: str
    data: bytes


class Tag(msgspec.Struct, frozen=True, kw_only=True):
    """A tag of the caller; shown and listed, never sent."""

    name: str
    value: str


class EmailRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A checked request; None means absent.

    Exactly one of `to` and `audiences` is not empty. Addresses of `to`, `cc` and `bcc` are unique:
    the first occurrence of an address counts.
    """

    sender: Mailbox
    to: tuple[Mailbox, ...] = ()
    cc: tuple[Mailbox, ...] = ()
    bcc: tuple[Mailbox, ...] = ()
    reply_to: tuple[Mailbox, ...] = ()
    #: None: the subject of the template.
    subject: str | None = None
    text: str | None = None
    html: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    tags: tuple[Tag, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    template_version_id: str | None = None
    #: Values are strings, numbers, booleans, None, lists and objects of these. None: absent, and
    #: the bodies of a send without template are no Liquid.
    variables: dict[str, Any] | None = None
    contact_id: str | None = None
    topic_id: str | None = None
    kind: MessageKind = MessageKind.TRANSACTIONAL
    #: Microseconds since 1970; None or past: now.
    scheduled_us: int | None = None
    idempotency_key: str | None = None
    #: None: as the domain has it for marketing mail, false for transactional mail.
    track_opens: bool | None = None
    track_clicks: bool | None = None
    audiences: tuple[str, ...] = ()
    excluded_audiences: tuple[str, ...] = ()
    dry_run: bool = False
    per_second: int | None = None

    @property
    def recipients(self) -> tuple[Mailbox, ...]:
        """Every recipient of a separate mail."""
        return (*self.to, *self.cc, *self.bcc)


def decode_email(
    body: bytes,
    now_us: int,
    *,
    header_key: str | None = None,
    topicless_marketing: bool = False,
) -> EmailRequest:
    """Decode and check the body of `POST /emails`.

    Args:
        body: JSON text of an object.
        now_us: wall clock, for `scheduled_at`.
        header_key: the header `Idempotency-Key`.
        topicless_marketing: policy of the project.

    Raises:
        ApiError: 400 for the JSON, 422 with every problem listed.
    """
    return email_of(
        read_object(body),
        now_us,
        header_key=header_key,
        topicless_marketing=topicless_marketing,
    )


def email_of(
    members: dict[str, Any],
    now_us: int,
    *,
    header_key: str | None = None,
    topicless_marketing: bool = False,
) -> EmailRequest:
    """As `decode_email`, for one item of an already parsed batch."""
    check = FieldReader(members, MEMBERS, "an e-mail")
    check.require("from")
    to, cc, bcc = _recipients(check)
    audiences = tuple(check.texts("audiences", AUDIENCES_MAX, check_contact_id) or ())
    kind = check.text("kind", _kind) or MessageKind.TRANSACTIONAL
    request = EmailRequest(
        # Not used if invalid: the problems are raised below.
        sender=check.text("from", parse_mailbox) or Mailbox(""),
        to=to,
        cc=cc,
        bcc=bcc,
        reply_to=tuple(check.texts("reply_to", REPLY_TO_MAX, parse_mailbox) or ()),
        subject=check.text("subject", check_header_value),
        text=check.text("text", _body),
        html=check.text("html", _body),
        headers=_headers(check),
        tags=_tags(check),
        attachments=_attachments(check),
        template_version_id=check.text("template_version_id", check_contact_id),
        variables=read_variables(check),
        contact_id=check.text("contact_id", check_contact_id),
        topic_id=check.text("topic_id", check_contact_id),
        kind=kind,
        scheduled_us=check.text("scheduled_at", lambda text: _scheduled(text, now_us)),
        idempotency_key=_key(check, header_key),
        track_opens=check.flag("track_opens"),
        track_clicks=check.flag("track_clicks"),
        audiences=audiences,
        excluded_audiences=tuple(
            check.texts("excluded_audiences", AUDIENCES_MAX, check_contact_id) or ()
        ),
        dry_run=check.flag("dry_run") or False,
        per_second=_per_second(check),
    )
    _check_content(check)
    _check_target(check, request, topicless_marketing=topicless_marketing)
    check.raise_if_any()
    return request


def _recipients(
    check: FieldReader,
) -> tuple[tuple[Mailbox, ...], tuple[Mailbox, ...], tuple[Mailbox, ...]]:
    seen: set[str] = set()
    lists: list[tuple[Mailbox, ...]] = []
    for field in ("to", "cc", "bcc"):
        found = check.texts(field, RECIPIENTS_MAX, parse_mailbox) or ()
        unique: list[Mailbox] = []
        for one in found:
            if one.address not in seen:
                seen.add(one.address)
                unique.append(one)
        lists.append(tuple(unique))
    return lists[0], lists[1], lists[2]


def _check_content(check: FieldReader) -> None:
    has = {name for name in MEMBERS if check.members.get(name) is not None}
    if "template_version_id" in has:
        for name in sorted(has & {"text", "html"}):
            check.add(name, "must be absent if template_version_id is given")
        return
    if not has & {"text", "html"}:
        check.add("", "one of text, html and template_version_id is required")
    if "subject" not in has:
        check.add("subject", "is required without template_version_id")


def _check_target(check: FieldReader, request: EmailRequest, *, topicless_marketing: bool) -> None:
    to_audiences = check.members.get("audiences") is not None
    has_to = check.members.get("to") is not None
    if to_audiences == has_to:
        check.add("", "exactly one of to and audiences is required")
    elif has_to and check.members.get("to") == []:
        check.add("to", "must have at least one address")
    if to_audiences:
        _check_audience_send(check, request)
    else:
        for name in ("excluded_audiences", "dry_run", "per_second"):
            if check.members.get(name) is not None:
                check.add(name, "needs audiences")
    if request.contact_id is not None and len(request.recipients) > 1:
        check.add("contact_id", "needs exactly one recipient")
    if (
        request.kind is MessageKind.MARKETING
        and check.members.get("topic_id") is None
        and not topicless_marketing
    ):
        check.add("topic_id", "is required for marketing mail")


def _check_audience_send(check: FieldReader, request: EmailRequest) -> None:
    if check.members.get("audiences") == []:
        check.add("audiences", "must have at least one audience")
    if request.kind is not MessageKind.MARKETING:
        check.add("kind", "must be marketing if audiences are given")
    for name in ("cc", "bcc", "contact_id"):
        if check.members.get(name) is not None:
            check.add(name, "must be absent if audiences are given")


def _kind(text: str) -> MessageKind:
    try:
        return MessageKind(text)
    except ValueError:
        message = f"must be one of {', '.join(MessageKind)}, got '{echo(text)}'"
        raise ValueError(message) from None


def _body(text: str) -> str:
    size = len(text.encode())
    if size > BODY_BYTES_MAX:
        message = f"must be at most {BODY_BYTES_MAX} bytes, got {size}"
        raise ValueError(message)
    if not text.strip():
        raise ValueError("must not be only blanks")
    return text


def _headers(check: FieldReader) -> tuple[tuple[str, str], ...]:
    value = check.members.get("headers")
    if value is None:
        return ()
    if not isinstance(value, dict):
        check.add("headers", f"must be an object, got {kind_of(value)}")
        return ()
    if len(value) > HEADERS_MAX:
        check.add("headers", f"must have at most {HEADERS_MAX} keys, got {len(value)}")
        return ()
    checked: list[tuple[str, str]] = []
    seen: set[str] = set()
    for name, sent in value.items():
        field = f"headers.{echo(name)}"
        problem = text_problem(sent)
        if problem is None and name.lower() in seen:
            problem = "occurs twice"
        seen.add(name.lower())
        if problem is None:
            try:
                check_header(name, sent)
            except ValueError as error:
                problem = str(error)
        if problem is not None:
            check.add(field, problem)
        else:
            checked.append((name, sent))
    return tuple(checked)


def _tags(check: FieldReader) -> tuple[Tag, ...]:
    tags: list[Tag] = []
    for one in check.objects("tags", TAGS_MAX, _TAG_MEMBERS, "a tag"):
        one.require(*_TAG_MEMBERS)
        name = one.text("name", _tag_name)
        value = one.text("value", _tag_value)
        if name is not None and value is not None:
            tags.append(Tag(name=name, value=value))
    return tuple(tags)


def _tag_name(text: str) -> str:
    if len(text) > TAG_CHARACTERS_MAX or _TAG_NAME.fullmatch(text) is None:
        message = f"must be 1 to {TAG_CHARACTERS_MAX} letters, digits, - and _"
        raise ValueError(message)
    return text


def _tag_value(text: str) -> str:
    if len(text) > TAG_CHARACTERS_MAX or _CONTROL.search(text):
        message = f"must be at most {TAG_CHARACTERS_MAX} characters without control characters"
        raise ValueError(message)
    return text


def _attachments(check: FieldReader) -> tuple[Attachment, ...]:
    files: list[Attachment] = []
    total = 0
    for one in check.objects("attachments", ATTACHMENTS_MAX, _ATTACHMENT_MEMBERS, "an attachment"):
        one.require(*_ATTACHMENT_MEMBERS)
        name = one.text("name", _file_name)
        kind = one.text("type", _media_type)
        data = one.text("data", _decoded)
        if name is not None and kind is not None and data is not None:
            total += len(data)
            files.append(Attachment(name=name, type=kind, data=data))
    if total > ATTACHMENTS_BYTES_MAX:
        check.add(
            "attachments", f"must have at most {ATTACHMENTS_BYTES_MAX} bytes together, got {total}"
        )
    return tuple(files)


def _file_name(text: str) -> str:
    name = text.strip()
    if not 1 <= len(name) <= FILE_NAME_CHARACTERS_MAX or name in {".", ".."}:
        message = f"must be a file name of 1 to {FILE_NAME_CHARACTERS_MAX} characters"
        raise ValueError(message)
    if _CONTROL.search(name) or "/" in name or "\\" in name:
        raise ValueError("must be a file name without folders and control characters")
    return name


def _media_type(text: str) -> str:
    lowered = text.strip().lower()
    if _MEDIA_TYPE.fullmatch(lowered) is None:
        raise ValueError("must be a media type such as application/pdf, without parameters")
    if lowered.startswith(("multipart/", "message/")):
        # Their content would be parsed as part of this mail.
        raise ValueError("must not be multipart or message; use application/octet-stream")
    return lowered


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("must be base64 without line breaks") from None


def read_variables(check: FieldReader) -> dict[str, Any] | None:
    """The member `variables` of a body; None when it is absent or wrong, which is noted."""
    value = check.members.get("variables")
    if value is None:
        return None
    if not isinstance(value, dict):
        check.add("variables", f"must be an object, got {kind_of(value)}")
        return None
    try:
        plain = plain_json(value, VARIABLES_DEPTH_MAX)
        size = len(json.dumps(plain, ensure_ascii=False).encode())
    except ValueError as error:
        check.add("variables", str(error))
        return None
    if size > VARIABLES_BYTES_MAX:
        check.add("variables", f"must be at most {VARIABLES_BYTES_MAX} bytes, got {size}")
    return dict(plain)


def plain_json(value: Any, depth: int) -> Any:
    """A parsed JSON value with its numbers as Python's.

    Raises:
        ValueError: it nests deeper than `depth`, or a string or number cannot be kept.
    """
    if isinstance(value, Number):
        return read_number(value)
    if isinstance(value, str):
        problem = text_problem(value)
        if problem is not None:
            message = f"has a string that {problem}"
            raise ValueError(message)
        return value
    if isinstance(value, dict | list) and depth == 0:
        message = f"must not nest deeper than {VARIABLES_DEPTH_MAX} levels"
        raise ValueError(message)
    if isinstance(value, dict):
        return {
            plain_json(name, depth - 1): plain_json(item, depth - 1) for name, item in value.items()
        }
    if isinstance(value, list):
        return [plain_json(item, depth - 1) for item in value]
    return value


def _scheduled(text: str, now_us: int) -> int:
    at_us = timestamps.parse(text)
    if at_us > now_us + SCHEDULE_MAX_US:
        raise ValueError("is more than a year ahead")
    return at_us


def _key(check: FieldReader, header_key: str | None) -> str | None:
    key = check.text("idempotency_key", check_idempotency_key)
    if header_key is None:
        return key
    if key is not None and key != header_key:
        check.add("idempotency_key", "differs from the header Idempotency-Key")
    try:
        return check_idempotency_key(header_key)
    except ValueError as error:
        check.add("Idempotency-Key", str(error))
        return None


def _per_second(check: FieldReader) -> int | None:
    value = check.members.get("per_second")
    if value is None:
        return None
    if isinstance(value, Number) and value.isdigit() and 1 <= float(value) <= PER_SECOND_MAX:
        return int(value)
    check.add("per_second", f"must be a whole number from 1 to {PER_SECOND_MAX}")
    return None
