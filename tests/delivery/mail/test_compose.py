"""Mails as parsed by the standard library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import default

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.delivery.mail import mime
from headrace.delivery.mail.compose import (
    ComposeError,
    MailContent,
    MailTooLargeError,
    Unsubscribe,
    compose,
)
from headrace.domain.messages.addresses import Mailbox
from headrace.domain.messages.email_request import Attachment
from headrace.domain.messages.header_rules import check_header
from headrace.domain.messages.kinds import MessageKind

KEY = "abcdefghijklmnopqrstuvwxyz"
CONTENT = MailContent(
    message_key=KEY,
    sending_domain="example.org",
    kind=MessageKind.TRANSACTIONAL,
    sender=Mailbox("news@example.org", "Shöp"),
    to=(Mailbox("a@example.net", "Doe, Jo"), Mailbox("b@example.net")),
    subject="Grüße",
    text="Hello\n.\nFrom here",
    at_us=1_800_000_000_000_000,
)
UNSUBSCRIBE = Unsubscribe(
    url="https://mail.example.org/u/" + "t" * 79, address="u+" + "a" * 60 + "@b.example.org"
)
MARKETING = replace(CONTENT, kind=MessageKind.MARKETING, unsubscribe=UNSUBSCRIBE)


def read(content: MailContent) -> EmailMessage:
    composed = compose(content)
    assert composed.count(b"\n") == composed.count(b"\r\n") == composed.count(b"\r")
    assert max(map(len, composed.split(b"\r\n"))) <= 998
    found = message_from_bytes(composed, policy=default)
    assert isinstance(found, EmailMessage)
    assert not found.defects
    return found


def body(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    assert isinstance(part, EmailMessage)
    return str(part.get_content()).replace("\r\n", "\n")


def test_transactional_mail() -> None:
    mail = read(CONTENT)
    assert mail["Message-ID"] == f"<{KEY}@example.org>"
    assert mail["Date"] == "Fri, 15 Jan 2027 08:00:00 +0000"
    assert mail["From"] == "Shöp <news@example.org>"
    assert mail["To"] == '"Doe, Jo" <a@example.net>, b@example.net'
    assert mail["Subject"] == "Grüße"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["List-Unsubscribe"] is None
    assert mail.get_content_type() == "text/plain"
    assert body(mail, "plain") == "Hello\n.\nFrom here\n"
    assert compose(CONTENT) == compose(CONTENT)


def test_marketing_mail_has_one_click_unsubscribe() -> None:
    content = replace(
        MARKETING, topic_id="t1", feedback=("auto:1", "2", "t1", "7"), attempt=2, text=""
    )
    mail = read(replace(content, html="<p>Hi</p>", preview="Look & see"))
    assert f"<{UNSUBSCRIBE.url}>, <mailto:{UNSUBSCRIBE.address}>" in mail["List-Unsubscribe"]
    # Although long, it must stay readable for programs.
    assert b"<" + UNSUBSCRIBE.url.encode() + b">" in compose(content)
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail["List-Id"] == "<t1.example.org>"
    assert mail["Feedback-ID"] == "auto1:2:t1:7"
    assert mail["X-Headrace-Attempt"] == "2"
    assert mail["Auto-Submitted"] is None
    assert mail.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    assert body(mail, "plain") == "Hi\n"
    assert "Look &amp; see" in body(mail, "html")
    with pytest.raises(ComposeError, match="unsubscribe"):
        compose(replace(MARKETING, unsubscribe=None))


def test_attachments() -> None:
    name = 'Übersicht "2026" und noch ein sehr langer Name, der nicht in eine Zeile passt.pdf'
    files = (
        Attachment(name="a.txt", type="text/csv", data=b"a,b\n"),
        Attachment(name=name, type="application/pdf", data=bytes(range(256)) * 10),
    )
    mail = read(replace(CONTENT, attachments=files, html="<p>x</p>"))
    found = list(mail.iter_attachments())
    assert [part.get_filename() for part in found] == ["a.txt", name]
    assert found[1].get_content() == bytes(range(256)) * 10
    assert body(mail, "html").strip() == "<p>x</p>"


def test_mail_over_the_limit_is_rejected() -> None:
    file = Attachment(name="a", type="application/pdf", data=b"x" * 8 * 1024 * 1024)
    with pytest.raises(MailTooLargeError):
        compose(replace(CONTENT, attachments=(file,)))
    with pytest.raises(MailTooLargeError):
        compose(replace(CONTENT, text="x" * 11 * 1024 * 1024))


TEXTS = st.text(max_size=300) | st.sampled_from(
    [
        "=?utf-8?q?a=0D=0ABcc=3A_x=40example.org?=",
        "a\r\nBcc: x@example.org",
        "=?utf-8?b?DQpCY2M6IHg=?=",
        "x" * 990,
        "ü" * 400,
        "a" * 200 + " " * 200 + "b",
        " leading and trailing ",
    ]
)
HEADERS = {"Message-ID", "Date", "From", "To", "Subject", "Auto-Submitted", "MIME-Version"}
HEADERS |= {"Content-Type", "Content-Transfer-Encoding"}


@given(subject=TEXTS, name=TEXTS, value=TEXTS)
def test_no_text_becomes_a_header(subject: str, name: str, value: str) -> None:
    content = replace(
        CONTENT,
        subject=subject,
        sender=Mailbox("news@example.org", name),
        headers=(("X-Note", value),),
    )
    try:
        check_header("X-Note", value)
        composed = compose(content)
    except (ValueError, ComposeError):
        return
    head = composed.partition(b"\r\n\r\n")[0]
    names = [line.partition(b":")[0] for line in head.split(b"\r\n") if line[:1] not in b" \t"]
    assert sorted(names) == sorted(one.encode() for one in HEADERS | {"X-Note"})
    assert head.isascii()
    assert max(map(len, head.split(b"\r\n"))) < 998


def decoded(header: str) -> str:
    return str(make_header(decode_header(header.replace("\r\n", ""))))


@given(text=st.text(alphabet=st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=90))
def test_text_of_a_header_round_trips(text: str) -> None:
    header = mime.text_header("Subject", text).partition(": ")[2]
    assert decoded(header) == text
    shown = message_from_bytes(
        f"From: {mime.mailbox(text, 'a@example.org')}\r\n\r\n".encode(), policy=default
    )["From"]
    assert shown.addresses[0].addr_spec == "a@example.org"
    assert len(shown.addresses) == 1


@given(text=st.text(max_size=200))
def test_body_round_trips(text: str) -> None:
    content = replace(CONTENT, text=text or "x", html="<p>x</p>")
    mail = read(content)
    lines = content.text.replace("\r\n", "\n").replace("\r", "\n")
    expected = lines.encode(errors="replace").decode()
    assert body(mail, "plain").removesuffix("\n") == expected.removesuffix("\n")


@given(name=st.text(min_size=1, max_size=80))
def test_file_name_adds_no_header(name: str) -> None:
    file = Attachment(name=name, type="application/pdf", data=b"x")
    composed = compose(replace(CONTENT, attachments=(file,)))
    mail = message_from_bytes(composed, policy=default)
    assert isinstance(mail, EmailMessage)
    (part,) = mail.iter_attachments()
    assert set(part.keys()) == {"Content-Type", "Content-Disposition", "Content-Transfer-Encoding"}
    assert part.get_content() == b"x"


@pytest.mark.parametrize("write", [mime.plain_header, mime.text_header])
@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\r\n b", "a\x00b", "ü\nb", "a\u2028b"])
def test_control_characters_are_rejected(write: Callable[[str, str], str], value: str) -> None:
    with pytest.raises(ValueError, match="control characters"):
        write("X-A", value)
