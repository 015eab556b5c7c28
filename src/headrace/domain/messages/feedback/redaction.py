"""Extracts what people need to see of a report, without personal data and secrets.

The returned mail and free text by persons are left out, and local parts of addresses are masked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from headrace.domain.messages.feedback.bounce_text import before_copy
from headrace.domain.messages.feedback.complaint_report import TYPE as COMPLAINT_TYPE
from headrace.domain.messages.feedback.delivery_status import TYPES as STATUS_TYPES
from headrace.domain.messages.feedback.form import FeedbackKind
from headrace.domain.messages.feedback.mime import Mail, read_mail
from headrace.domain.messages.feedback.providers import payloads

#: Characters of an extract.
RAW_CHARACTERS_MAX = 4000
#: Of one value in the JSON of a webhook, its members, and how deep they are nested.
_VALUE_CHARACTERS_MAX = 500
_MEMBERS_MAX = 50
_DEPTH_MAX = 8

#: Header fields that say what a mail is; none has a name of a person.
_FIELDS = (
    *("date", "content-type", "auto-submitted", "precedence", "x-failed-recipients"),
    *("x-autoreply", "x-autorespond", "return-path"),
)
#: Kinds of mail that a program wrote, whose text is shown.
_BY_PROGRAM = frozenset(
    {FeedbackKind.HARD, FeedbackKind.SOFT, FeedbackKind.BLOCKED, FeedbackKind.DELAYED}
)
#: Members of webhooks that are secret, or content of the mail. Compared in lower case.
_REMOVED = frozenset(
    {
        *("token", "signature", "subscribeurl", "unsubscribeurl", "signingcerturl"),
        *("content", "body", "html", "text", "subject", "commonheaders", "headers", "metadata"),
        *("tags", "cc", "bcc", "replyto", "reply_to", "from", "fromfull", "source", "sourceip"),
        *("calleridentity", "sendingaccountid", "ipaddress", "useragent", "geo", "link"),
        *("originallink", "openlink", "name"),
    }
)
#: Members with recipients, of which only the address is shown, not the name.
_RECIPIENTS = frozenset({"to", "destination", "recipients", "email", "recipient", "emailaddress"})
_NAMED = re.compile(r"[^<>]*<([^<>]*)>.*", re.DOTALL)
_ADDRESS = re.compile(r"[^\s<>@:;,\"()=]{1,64}@(?=[^\s<>@:;,\"()]{1,255})")
_CONTROL = re.compile(
    r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]+"
)


def redacted_mail(raw: bytes, kind: FeedbackKind) -> str:
    """The header fields and the report of a mail.

    Args:
        raw: the mail.
        kind: as it was understood; only the text of a bounce is shown.
    """
    mail = read_mail(raw)
    return _shown("\n".join(_of_mail(mail, kind)))


def redacted_webhook(body: bytes) -> str:
    """The members of a webhook's JSON, indented; a note for anything else."""
    members = payloads.read_json(body)
    if not members:
        return f"{len(body)} bytes that are no JSON object"
    inner = members.get("Message")
    if isinstance(inner, str):
        # SNS carries the notification of SES as text.
        members = members | {"Message": payloads.read_json(inner) or inner}
    kept = _without_secrets(members)
    return _shown(msgspec.json.format(msgspec.json.encode(kept), indent=2).decode())


def _of_mail(mail: Mail, kind: FeedbackKind) -> Iterator[str]:
    for name in _FIELDS:
        for value in mail.headers.all(name)[:1]:
            yield f"{name.title()}: {value}"
    for part in mail.parts:
        yield f"\n[{part.type}, {len(part.raw)} bytes]"
        if part.type in (*STATUS_TYPES, COMPLAINT_TYPE):
            yield part.text.strip()
        elif kind in _BY_PROGRAM and part.type == "text/plain":
            yield before_copy(part.text).strip()


def _without_secrets(value: Any, depth: int = 0, name: str = "") -> Any:
    if depth > _DEPTH_MAX or name in _REMOVED:
        return "[removed]"
    if isinstance(value, dict):
        return {
            key[:_VALUE_CHARACTERS_MAX]: _without_secrets(inner, depth + 1, key.lower())
            for key, inner in list(value.items())[:_MEMBERS_MAX]
        }
    if isinstance(value, list):
        return [_without_secrets(inner, depth + 1, name) for inner in value[:_MEMBERS_MAX]]
    if not isinstance(value, str):
        return value
    shown = _NAMED.sub(r"\1", value) if name in _RECIPIENTS else value
    return shown[:_VALUE_CHARACTERS_MAX]


def _shown(text: str) -> str:
    cut = _CONTROL.sub(" ", text[: RAW_CHARACTERS_MAX * 2])
    return _ADDRESS.sub("***@", cut)[:RAW_CHARACTERS_MAX].strip()
