"""Extracts show what was reported, and neither persons nor secrets."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.messages.feedback.form import FeedbackKind
from headrace.domain.messages.feedback.redaction import (
    RAW_CHARACTERS_MAX,
    redacted_mail,
    redacted_webhook,
)

from .mails import SENDER, report

STATUS = "Final-Recipient: rfc822; ann@example.net\nAction: failed\nStatus: 5.1.1"


def test_a_report_is_shown_without_the_returned_mail() -> None:
    returned = "To: Ann Example <ann@example.net>\nSubject: Your illness\n"
    shown = redacted_mail(report(STATUS, returned=returned), FeedbackKind.HARD)
    assert "Final-Recipient: rfc822; ***@example.net" in shown
    assert "Status: 5.1.1" in shown
    for personal in ("ann@", "Ann", "illness", SENDER):
        assert personal not in shown


def test_text_of_a_server_ends_at_the_copy() -> None:
    text = "user unknown\n--- Below this line is a copy of the message.\n\nDear Ann, your illness"
    raw = f"From: MAILER-DAEMON@x.org\nSubject: failure notice\n\n{text}".encode()
    shown = redacted_mail(raw, FeedbackKind.HARD)
    assert "user unknown" in shown
    assert "illness" not in shown
    # What a person wrote is not shown at all.
    assert "user unknown" not in redacted_mail(raw, FeedbackKind.AUTO_REPLY)


def test_a_webhook_is_shown_without_names_and_secrets() -> None:
    inner = {"eventType": "Bounce", "mail": {"source": SENDER, "tags": {"headrace": ["t0ken"]}}}
    body = {
        "Type": "Notification",
        "Signature": "s1gnature",
        "Token": "t0ken",
        "Message": json.dumps(inner),
        "data": {"to": ["Ann Example <ann@example.net>"], "subject": "Your illness"},
        "Details": "smtp;550 5.1.1 <ann@example.net> unknown",
    }
    shown = redacted_webhook(json.dumps(body).encode())
    assert '"eventType": "Bounce"' in shown
    assert "smtp;550 5.1.1 <***@example.net> unknown" in shown
    for personal in ("ann@", "Ann", "illness", "t0ken", "s1gnature", SENDER):
        assert personal not in shown


@given(st.binary(max_size=300), st.sampled_from(FeedbackKind))
def test_any_bytes_have_an_extract(raw: bytes, kind: FeedbackKind) -> None:
    for shown in (redacted_mail(raw, kind), redacted_webhook(raw)):
        assert len(shown) <= RAW_CHARACTERS_MAX
        assert "\x00" not in shown
        shown.encode()
