"""Every row of the table of SMTP replies, and replies as large receivers word them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.messages.smtp_replies import (
    TEXT_CHARACTERS_MAX,
    Phase,
    Reply,
    ReplyClass,
    classify,
    read_reply,
    relay_id_of,
    shown_text,
)

CASES = [
    # Relay.
    (Phase.GREETING, 421, "4.3.2 Service shutting down", ReplyClass.RELAY_UNAVAILABLE),
    (Phase.GREETING, 554, "5.7.1 No service for you", ReplyClass.RELAY_UNAVAILABLE),
    (Phase.GREETING, 454, "4.7.0 TLS not available", ReplyClass.RELAY_UNAVAILABLE),
    (Phase.AUTH, 454, "4.7.0 Temporary authentication failure", ReplyClass.RELAY_UNAVAILABLE),
    (Phase.AUTH, 535, "5.7.8 Error: authentication failed", ReplyClass.RELAY_AUTH),
    (Phase.AUTH, 534, "5.7.9 Mechanism too weak", ReplyClass.RELAY_AUTH),
    (Phase.MAIL, 530, "5.7.0 Must issue a STARTTLS command first", ReplyClass.RELAY_AUTH),
    (Phase.MAIL, 530, "Authentication required", ReplyClass.RELAY_AUTH),
    (Phase.RCPT, 421, "4.4.2 timeout exceeded", ReplyClass.RELAY_UNAVAILABLE),
    # Temporary.
    (Phase.RCPT, 450, "4.2.0 Greylisted, see http://postgrey.example", ReplyClass.DEFERRED),
    (Phase.RCPT, 451, "4.7.1 Try again later", ReplyClass.DEFERRED),
    (Phase.RCPT, 450, "mailbox busy", ReplyClass.DEFERRED),
    (Phase.FINAL, 451, "4.3.0 Error: queue file write error", ReplyClass.DEFERRED),
    (Phase.RCPT, 450, "5.1.1 User unknown", ReplyClass.DEFERRED),
    (Phase.RCPT, 421, "4.7.28 unusual rate of unsolicited mail", ReplyClass.THROTTLED),
    (Phase.MAIL, 421, "4.7.0 [TSS04] temporarily deferred", ReplyClass.THROTTLED),
    (Phase.RCPT, 451, "4.7.500 Server busy. Too many requests", ReplyClass.THROTTLED),
    (Phase.RCPT, 452, "4.5.3 Too many recipients", ReplyClass.THROTTLED),
    (Phase.RCPT, 450, "You are sending too fast, slow down", ReplyClass.THROTTLED),
    # Mailbox.
    (Phase.RCPT, 452, "4.2.2 The recipient's inbox is out of space", ReplyClass.MAILBOX_FULL),
    (Phase.RCPT, 552, "5.2.2 Over quota", ReplyClass.MAILBOX_FULL),
    (Phase.FINAL, 552, "Mailbox is full", ReplyClass.MAILBOX_FULL),
    (Phase.RCPT, 550, "5.1.1 The email account does not exist", ReplyClass.ADDRESS_BAD),
    (Phase.RCPT, 550, "5.1.2 Bad destination system", ReplyClass.ADDRESS_BAD),
    (Phase.RCPT, 501, "5.1.3 Bad recipient address syntax", ReplyClass.ADDRESS_BAD),
    (Phase.RCPT, 551, "5.1.6 Moved", ReplyClass.ADDRESS_BAD),
    (Phase.RCPT, 556, "5.1.10 Null MX", ReplyClass.ADDRESS_BAD),
    (Phase.RCPT, 550, "5.2.1 The account is disabled", ReplyClass.ADDRESS_BAD),
    (Phase.RCPT, 551, "User not local", ReplyClass.ADDRESS_BAD),
    (Phase.RCPT, 550, "No such user here", ReplyClass.ADDRESS_BAD),
    (
        Phase.RCPT,
        550,
        "<a@example.org>: Recipient address rejected: User unknown in table",
        ReplyClass.ADDRESS_BAD,
    ),
    (Phase.RCPT, 550, "5.0.0 Mailbox not found", ReplyClass.ADDRESS_BAD),
    (Phase.RCPT, 553, "sorry, this recipient does not exist", ReplyClass.ADDRESS_BAD),
    (Phase.FINAL, 550, "5.1.1 unknown", ReplyClass.ADDRESS_BAD),
    (Phase.RCPT, 550, "5.4.1 No route", ReplyClass.DOMAIN_BAD),
    (Phase.RCPT, 550, "5.4.4 Host not found", ReplyClass.DOMAIN_BAD),
    # The message.
    (Phase.RCPT, 552, "5.3.4 Message size exceeds fixed limit", ReplyClass.TOO_LARGE),
    (Phase.MAIL, 552, "Message size exceeds maximum permitted", ReplyClass.TOO_LARGE),
    (Phase.FINAL, 550, "5.2.3 Message too large for the recipient", ReplyClass.TOO_LARGE),
    (Phase.FINAL, 554, "5.6.0 Malformed", ReplyClass.CONTENT_REFUSED),
    # The sender: never the address.
    (Phase.FINAL, 550, "5.7.26 This mail is unauthenticated", ReplyClass.SENDER_REFUSED),
    (Phase.FINAL, 550, "5.7.515 Access denied", ReplyClass.SENDER_REFUSED),
    (Phase.FINAL, 554, "5.7.9 Message not accepted for policy reasons", ReplyClass.SENDER_REFUSED),
    (Phase.RCPT, 550, "5.7.1 relaying denied for unknown user", ReplyClass.SENDER_REFUSED),
    (Phase.FINAL, 554, "Message rejected as spam", ReplyClass.SENDER_REFUSED),
    (Phase.RCPT, 550, "Requested action not taken", ReplyClass.SENDER_REFUSED),
    (Phase.MAIL, 550, "5.1.1 Sender unknown", ReplyClass.SENDER_REFUSED),
    (Phase.MAIL, 553, "5.1.8 Domain of sender does not exist", ReplyClass.SENDER_REFUSED),
    (Phase.RCPT, 553, "5.1.8 Domain of sender does not exist", ReplyClass.SENDER_REFUSED),
    (Phase.MAIL, 450, "4.2.2 full", ReplyClass.DEFERRED),
    # Protocol.
    (Phase.MAIL, 503, "5.5.1 Sender already specified", ReplyClass.PROTOCOL),
    (Phase.RCPT, 500, "Command unrecognized", ReplyClass.PROTOCOL),
    (Phase.MAIL, 555, "Parameters not recognized", ReplyClass.PROTOCOL),
    (Phase.DATA, 250, "Ok", ReplyClass.PROTOCOL),
    (Phase.RCPT, 0, "hello?", ReplyClass.PROTOCOL),
    # After the final dot.
    (Phase.FINAL, 250, "2.0.0 Ok: queued", ReplyClass.SENT),
    (Phase.FINAL, 0, "25", ReplyClass.UNKNOWN),
    (Phase.FINAL, 354, "go on", ReplyClass.UNKNOWN),
]


@pytest.mark.parametrize(("phase", "code", "text", "expected"), CASES)
def test_reply_is_classified(phase: Phase, code: int, text: str, expected: ReplyClass) -> None:
    assert classify(phase, read_reply(code, text)) is expected


def test_reply_is_split_into_codes_and_text() -> None:
    reply = read_reply(550, "5.7.26 unauthenticated\n5.7.26 see help")
    assert reply == Reply(550, "unauthenticated see help", "5.7.26")
    assert read_reply(250, "1.2.3.4 is welcome").status is None
    assert read_reply(-1, "x").code == 0


def test_local_parts_and_control_characters_are_not_shown() -> None:
    assert shown_text("no <jo.doe+x@example.org>\r\n\u202enow") == "no <***@example.org> now"


TEXTS = st.text(max_size=40) | st.sampled_from([text for _, _, text, _ in CASES])


@given(phase=st.sampled_from(Phase), code=st.integers(-5, 999), text=TEXTS)
def test_any_reply_has_a_class_that_fits_its_phase(phase: Phase, code: int, text: str) -> None:
    reply = read_reply(code, text)
    found = classify(phase, reply)
    if found is ReplyClass.SENT:
        assert phase is Phase.FINAL
        assert 200 <= code < 300
    if found is ReplyClass.UNKNOWN:
        assert phase is Phase.FINAL
    if found is ReplyClass.ADDRESS_BAD:
        assert 500 <= code < 600
        assert phase in {Phase.RCPT, Phase.DATA, Phase.FINAL}
    assert reply.text.isprintable() or not reply.text.isascii()
    assert "\n" not in reply.text


@given(st.text(alphabet="user unknown<>@ not found", min_size=1, max_size=30))
def test_long_texts_are_cut_before_they_are_searched(part: str) -> None:
    reply = read_reply(550, part * 20_000)
    assert len(reply.text) <= TEXT_CHARACTERS_MAX
    classify(Phase.RCPT, reply)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Ok 0102018f6a1b2c3d-4e5f6a7b-8c9d-4e0f-a1b2-c3d4e5f6a7b8-000000",
            "0102018f6a1b2c3d-4e5f6a7b-8c9d-4e0f-a1b2-c3d4e5f6a7b8-000000",
        ),
        (
            "OK: queued as <883953f4-6105-42a2-a16a-77a8eac79483>.",
            "883953f4-6105-42a2-a16a-77a8eac79483",
        ),
        # Mail servers use these numbers again.
        ("Ok: queued as 4Xk2zP3wQbz1Rd", None),
        ("accepted for delivery by relay-12.of-a-long-name.example.net", None),
        ("883953f4-6105-42a2-a16a-77a8eac79483 883953f4-6105-42a2-a16a-77a8eac79484", None),
        ("1" * 500, None),
        ("", None),
        (None, None),
    ],
)
def test_the_id_of_a_provider_is_found_in_its_response(
    text: str | None, expected: str | None
) -> None:
    assert relay_id_of(text) == expected
