"""Any mail is read without an error, and only a signed address names a message."""

from __future__ import annotations

import base64
import json
import quopri
import re
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from headrace.domain.messages.feedback.decision import judge, read_diagnostic
from headrace.domain.messages.feedback.form import (
    RECIPIENTS_MAX,
    WORD_CHARACTERS_MAX,
    Feedback,
    FeedbackKind,
)
from headrace.domain.messages.feedback.mime import (
    PARTS_MAX,
    TEXT_BYTES_MAX,
    VALUE_CHARACTERS_MAX,
    Headers,
    read_mail,
)
from headrace.domain.messages.feedback.providers.postmark import read_postmark
from headrace.domain.messages.feedback.providers.resend import read_resend
from headrace.domain.messages.feedback.providers.ses import read_ses
from headrace.domain.messages.feedback.returned_mail import read_returned_mail
from headrace.domain.messages.smtp_replies import TEXT_CHARACTERS_MAX, ReplyClass
from headrace.domain.messages.tokens import BounceAddresses

SECRET = b"0123456789abcdef0123456789abcdef"
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
ADDRESSES = BounceAddresses.of(SECRET, "bounces.example.org")
OTHERS = BounceAddresses.of(SECRET[::-1], "bounces.example.org")
UUIDS = st.uuids().filter(lambda value: value.int != 0).map(str)

NAMES = st.sampled_from(
    [
        *("Content-Type", "Content-Transfer-Encoding", "Subject", "From", "To", "Date"),
        *("Auto-Submitted", "Precedence", "X-Failed-Recipients", "Return-Path", "Message-ID"),
        *("Final-Recipient", "Original-Recipient", "Action", "Status", "Diagnostic-Code"),
        *("Reporting-MTA", "Last-Attempt-Date", "Original-Envelope-Id", "Feedback-Type"),
        *("Original-Rcpt-To", "Arrival-Date", "", " ", "From ", "X"),
    ]
)
VALUES = st.sampled_from(
    [
        *("multipart/report; boundary=b", "multipart/mixed; boundary=b; boundary*0=c; boundary*=d"),
        *('multipart/mixed; boundary="', "message/delivery-status", "message/rfc822", "text/html"),
        *("message/feedback-report", "text/plain; charset=utf-16", "text/plain; charset*=x''%"),
        *("base64", "quoted-printable", "MAILER-DAEMON@x", "failed", "delayed", "abuse", "5.1.1"),
        *("smtp; 550 5.1.1 User unknown", "rfc822; a@example.net", "=?utf-8?b?x?=", "=?x?q?=ff?="),
        *("Mon, 1 Jun 2026 10:00:00 +9999", "Mon, 99 Jun 0000 25:61:61 -0000", "auto-replied"),
        *("Sun, 31 Dec 9999 23:59:59 -2359", "Mon, 1 Jan 1 00:00:00 +2359"),
    ]
) | st.text(max_size=40)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=8).map(
    lambda fields: "".join(f"{name}: {value}\n" for name, value in fields)
)
BODIES = st.sampled_from(["--b\n", "--b--\n", "\n", "550 5.1.1 no\n"]) | st.text(max_size=60)
ENTITIES = st.lists(st.tuples(FIELDS, BODIES), min_size=1, max_size=6).map(
    lambda parts: "\n--b\n".join(f"{fields}\n{body}" for fields, body in parts)
)
MAILS = (
    ENTITIES.map(lambda text: text.encode("utf-8", "replace"))
    | ENTITIES.map(lambda text: text.encode("utf-16", "replace"))
    | st.binary(max_size=400)
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
MEMBERS = st.sampled_from(
    [
        *("eventType", "notificationType", "bounce", "bounceType", "bouncedRecipients", "mail"),
        *("emailAddress", "complaint", "delivery", "recipients", "headers", "source", "timestamp"),
        *("RecordType", "Type", "Metadata", "Email", "BouncedAt", "TopicArn", "Message", "type"),
        *("data", "to", "tags", "created_at", "subscription", "deliveryDelay", "Details"),
    ]
)
WORDS = st.sampled_from(["Bounce", "Complaint", "Delivery", "email.bounced", "Notification", "x@y"])
PAYLOADS = st.recursive(
    WORDS | JSON_VALUES,
    lambda inner: st.dictionaries(MEMBERS, inner, max_size=6) | st.lists(inner, max_size=3),
    max_leaves=12,
)


def check(found: Feedback) -> None:
    """What holds for every report."""
    assert found.message_id is None
    assert len(found.event) <= WORD_CHARACTERS_MAX
    texts = (found.diagnostic, found.reporter, found.address, found.provider_id, found.event)
    for text in filter(None, (*texts, found.original_message_id)):
        assert len(text) <= TEXT_CHARACTERS_MAX + 1
        assert not CONTROL.search(text)
        text.encode()
    assert found.at_us is None or found.at_us > 0
    if found.kind is FeedbackKind.HARD:
        assert found.reason is ReplyClass.ADDRESS_BAD


@given(raw=MAILS)
@example(raw=b"Content-Type: multipart/mixed; boundary*0=a; boundary*=b\n\nx")
def test_any_mail_is_read(raw: bytes) -> None:
    found = read_returned_mail(raw, addresses=ADDRESSES)
    assert 0 < len(found.reports) <= RECIPIENTS_MAX
    assert found.unsubscribe is None
    for report in found.reports:
        check(report)


@given(raw=MAILS)
def test_parts_of_any_mail_keep_their_limits(raw: bytes) -> None:
    parts = read_mail(raw).parts
    assert len(parts) <= PARTS_MAX
    for part in parts:
        assert len(part.text) <= TEXT_BYTES_MAX
        assert "\x00" not in part.text
        assert "\r" not in part.raw.decode("latin-1")


@given(raw=MAILS)
def test_reading_twice_gives_the_same(raw: bytes) -> None:
    assert read_returned_mail(raw) == read_returned_mail(raw)


@given(block=st.binary(max_size=300) | FIELDS.map(lambda text: text.encode("utf-8", "replace")))
def test_values_of_any_header_block_are_one_line(block: bytes) -> None:
    headers = Headers(block)
    for value in headers.all("subject", "to", "x", "content-type"):
        assert len(value) <= VALUE_CHARACTERS_MAX
        assert not set(value) & set("\r\n\x00")
        headers.text("subject").encode()


@given(message=UUIDS, text=BODIES, upper=st.booleans())
def test_signed_address_names_its_message(message: str, text: str, upper: bool) -> None:
    def read(sender: str) -> str | None:
        shown = sender.upper() if upper else sender
        raw = f"To: <{shown}>\nFrom: x@example.net\n\n{text}".encode("utf-8", "replace")
        return read_returned_mail(raw, addresses=ADDRESSES).reports[0].message_id

    assert read(ADDRESSES.sender(message)) == message
    assert read(OTHERS.sender(message)) is None


@given(content=st.binary(max_size=200))
def test_transfer_encodings_come_back(content: bytes) -> None:
    head = b"Content-Type: application/octet-stream\nContent-Transfer-Encoding: "
    encoded = base64.encodebytes(content)
    assert read_mail(head + b"base64\n\n" + encoded).parts[0].content == content
    printable = quopri.encodestring(content.replace(b"\r", b""), quotetabs=True)
    found = read_mail(head + b"quoted-printable\n\n" + printable).parts[0].content
    assert found == content.replace(b"\r", b"")


@given(status=st.text(max_size=20), diagnostic=st.text(max_size=100) | VALUES)
def test_any_response_is_judged(status: str, diagnostic: str) -> None:
    failure = judge(status, diagnostic)
    assert (failure.kind is FeedbackKind.HARD) == (failure.reason is ReplyClass.ADDRESS_BAD) or (
        failure.kind is FeedbackKind.SOFT
    )
    assert read_diagnostic(diagnostic).code in {0, *range(200, 600)}


@given(code=st.integers(400, 599), detail=st.integers(0, 999), text=st.text(max_size=60))
def test_rejection_of_the_sender_never_affects_the_address(
    code: int, detail: int, text: str
) -> None:
    status = f"{code // 100}.7.{detail}"
    assert judge(status, text).kind is FeedbackKind.BLOCKED
    assert judge("5.1.1", f"smtp; {code} {status} {text}").kind is FeedbackKind.BLOCKED
    assert judge("5.1.1", f"smtp; {code} 5.1.1 listed by spamhaus").kind is FeedbackKind.BLOCKED


@given(payload=PAYLOADS)
def test_any_payload_is_read(payload: Any) -> None:
    body = json.dumps(payload).encode()
    for read in (read_ses, read_postmark, read_resend):
        found = read(body, ADDRESSES)
        assert 0 < len(found) <= RECIPIENTS_MAX
        for report in found:
            check(report)


@given(body=st.binary(max_size=100))
def test_any_body_is_read(body: bytes) -> None:
    for read in (read_ses, read_postmark, read_resend):
        assert [found.kind for found in read(body)] == [FeedbackKind.UNKNOWN]
