"""Every row of the table of SMTP replies, and replies as large receivers word them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.messages.smtp_answers import (
    TEXT_CHARACTERS_MAX,
    Answer,
    AnswerClass,
    Phase,
    classify,
    read_answer,
    shown_text,
)

CASES = [
    # Relay.
    (Phase.GREETING, 421, "4.3.2 Service shutting down", AnswerClass.RELAY_UNAVAILABLE),
    (Phase.GREETING, 554, "5.7.1 No service for you", AnswerClass.RELAY_UNAVAILABLE),
    (Phase.GREETING, 454, "4.7.0 TLS not available", AnswerClass.RELAY_UNAVAILABLE),
    (Phase.AUTH, 454, "4.7.0 Temporary authentication failure", AnswerClass.RELAY_UNAVAILABLE),
    (Phase.AUTH, 535, "5.7.8 Error: authentication failed", AnswerClass.RELAY_AUTH),
    (Phase.AUTH, 534, "5.7.9 Mechanism too weak", AnswerClass.RELAY_AUTH),
    (Phase.MAIL, 530, "5.7.0 Must issue a STARTTLS command first", AnswerClass.RELAY_AUTH),
    (Phase.MAIL, 530, "Authentication required", AnswerClass.RELAY_AUTH),
    (Phase.RCPT, 421, "4.4.2 timeout exceeded", AnswerClass.RELAY_UNAVAILABLE),
    # Temporary.
    (Phase.RCPT, 450, "4.2.0 Greylisted, see http://postgrey.example", AnswerClass.DEFERRED),
    (Phase.RCPT, 451, "4.7.1 Try again later", AnswerClass.DEFERRED),
    (Phase.RCPT, 450, "mailbox busy", AnswerClass.DEFERRED),
    (Phase.FINAL, 451, "4.3.0 Error: queue file write error", AnswerClass.DEFERRED),
    (Phase.RCPT, 450, "5.1.1 User unknown", AnswerClass.DEFERRED),
    (Phase.RCPT, 421, "4.7.28 unusual rate of unsolicited mail", AnswerClass.THROTTLED),
    (Phase.MAIL, 421, "4.7.0 [TSS04] temporarily deferred", AnswerClass.THROTTLED),
    (Phase.RCPT, 451, "4.7.500 Server busy. Too many requests", AnswerClass.THROTTLED),
    (Phase.RCPT, 452, "4.5.3 Too many recipients", AnswerClass.THROTTLED),
    (Phase.RCPT, 450, "You are sending too fast, slow down", AnswerClass.THROTTLED),
    # Mailbox.
    (Phase.RCPT, 452, "4.2.2 The recipient's inbox is out of space", AnswerClass.MAILBOX_FULL),
    (Phase.RCPT, 552, "5.2.2 Over quota", AnswerClass.MAILBOX_FULL),
    (Phase.FINAL, 552, "Mailbox is full", AnswerClass.MAILBOX_FULL),
    (Phase.RCPT, 550, "5.1.1 The email account does not exist", AnswerClass.ADDRESS_BAD),
    (Phase.RCPT, 550, "5.1.2 Bad destination system", AnswerClass.ADDRESS_BAD),
    (Phase.RCPT, 501, "5.1.3 Bad recipient address syntax", AnswerClass.ADDRESS_BAD),
    (Phase.RCPT, 551, "5.1.6 Moved", AnswerClass.ADDRESS_BAD),
    (Phase.RCPT, 556, "5.1.10 Null MX", AnswerClass.ADDRESS_BAD),
    (Phase.RCPT, 550, "5.2.1 The account is disabled", AnswerClass.ADDRESS_BAD),
    (Phase.RCPT, 551, "User not local", AnswerClass.ADDRESS_BAD),
    (Phase.RCPT, 550, "No such user here", AnswerClass.ADDRESS_BAD),
    (
        Phase.RCPT,
        550,
        "<a@example.org>: Recipient address rejected: User unknown in table",
        AnswerClass.ADDRESS_BAD,
    ),
    (Phase.RCPT, 550, "5.0.0 Mailbox not found", AnswerClass.ADDRESS_BAD),
    (Phase.RCPT, 553, "sorry, this recipient does not exist", AnswerClass.ADDRESS_BAD),
    (Phase.FINAL, 550, "5.1.1 unknown", AnswerClass.ADDRESS_BAD),
    (Phase.RCPT, 550, "5.4.1 No route", AnswerClass.DOMAIN_BAD),
    (Phase.RCPT, 550, "5.4.4 Host not found", AnswerClass.DOMAIN_BAD),
    # The message.
    (Phase.RCPT, 552, "5.3.4 Message size exceeds fixed limit", AnswerClass.TOO_LARGE),
    (Phase.MAIL, 552, "Message size exceeds maximum permitted", AnswerClass.TOO_LARGE),
    (Phase.FINAL, 550, "5.2.3 Message too large for the recipient", AnswerClass.TOO_LARGE),
    (Phase.FINAL, 554, "5.6.0 Malformed", AnswerClass.CONTENT_REFUSED),
    # The sender: never the address.
    (Phase.FINAL, 550, "5.7.26 This mail is unauthenticated", AnswerClass.SENDER_REFUSED),
    (Phase.FINAL, 550, "5.7.515 Access denied", AnswerClass.SENDER_REFUSED),
    (Phase.FINAL, 554, "5.7.9 Message not accepted for policy reasons", AnswerClass.SENDER_REFUSED),
    (Phase.RCPT, 550, "5.7.1 relaying denied for unknown user", AnswerClass.SENDER_REFUSED),
    (Phase.FINAL, 554, "Message rejected as spam", AnswerClass.SENDER_REFUSED),
    (Phase.RCPT, 550, "Requested action not taken", AnswerClass.SENDER_REFUSED),
    (Phase.MAIL, 550, "5.1.1 Sender unknown", AnswerClass.SENDER_REFUSED),
    (Phase.MAIL, 553, "5.1.8 Domain of sender does not exist", AnswerClass.SENDER_REFUSED),
    (Phase.RCPT, 553, "5.1.8 Domain of sender does not exist", AnswerClass.SENDER_REFUSED),
    (Phase.MAIL, 450, "4.2.2 full", AnswerClass.DEFERRED),
    # Protocol.
    (Phase.MAIL, 503, "5.5.1 Sender already specified", AnswerClass.PROTOCOL),
    (Phase.RCPT, 500, "Command unrecognized", AnswerClass.PROTOCOL),
    (Phase.MAIL, 555, "Parameters not recognized", AnswerClass.PROTOCOL),
    (Phase.DATA, 250, "Ok", AnswerClass.PROTOCOL),
    (Phase.RCPT, 0, "hello?", AnswerClass.PROTOCOL),
    # After the final dot.
    (Phase.FINAL, 250, "2.0.0 Ok: queued", AnswerClass.SENT),
    (Phase.FINAL, 0, "25", AnswerClass.UNKNOWN),
    (Phase.FINAL, 354, "go on", AnswerClass.UNKNOWN),
]


@pytest.mark.parametrize(("phase", "code", "text", "expected"), CASES)
def test_answer_is_classified(phase: Phase, code: int, text: str, expected: AnswerClass) -> None:
    assert classify(phase, read_answer(code, text)) is expected


def test_answer_is_split_into_codes_and_text() -> None:
    answer = read_answer(550, "5.7.26 unauthenticated\n5.7.26 see help")
    assert answer == Answer(550, "unauthenticated see help", "5.7.26")
    assert read_answer(250, "1.2.3.4 is welcome").status is None
    assert read_answer(-1, "x").code == 0


def test_local_parts_and_control_characters_are_not_shown() -> None:
    assert shown_text("no <jo.doe+x@example.org>\r\n\u202enow") == "no <***@example.org> now"


TEXTS = st.text(max_size=40) | st.sampled_from([text for _, _, text, _ in CASES])


@given(phase=st.sampled_from(Phase), code=st.integers(-5, 999), text=TEXTS)
def test_any_answer_has_a_class_that_fits_its_phase(phase: Phase, code: int, text: str) -> None:
    answer = read_answer(code, text)
    found = classify(phase, answer)
    if found is AnswerClass.SENT:
        assert phase is Phase.FINAL
        assert 200 <= code < 300
    if found is AnswerClass.UNKNOWN:
        assert phase is Phase.FINAL
    if found is AnswerClass.ADDRESS_BAD:
        assert 500 <= code < 600
        assert phase in {Phase.RCPT, Phase.DATA, Phase.FINAL}
    assert answer.text.isprintable() or not answer.text.isascii()
    assert "\n" not in answer.text


@given(st.text(alphabet="user unknown<>@ not found", min_size=1, max_size=30))
def test_long_texts_are_cut_before_they_are_searched(part: str) -> None:
    answer = read_answer(550, part * 20_000)
    assert len(answer.text) <= TEXT_CHARACTERS_MAX
    classify(Phase.RCPT, answer)
