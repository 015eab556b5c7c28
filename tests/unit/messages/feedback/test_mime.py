"""A mail is read within fixed limits, whatever it contains."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from headrace.domain.messages.feedback.form import RECIPIENTS_MAX, FeedbackKind
from headrace.domain.messages.feedback.mime import (
    BYTES_MAX,
    DEPTH_MAX,
    HEADER_BYTES_MAX,
    PARTS_MAX,
    TEXT_BYTES_MAX,
    VALUE_CHARACTERS_MAX,
    VALUES_MAX,
    Headers,
    decoded,
    read_mail,
)
from headrace.domain.messages.feedback.returned_mail import read_returned_mail

from .mails import ADDRESSES, failed, plain, report


def nested(depth: int) -> bytes:
    """A text inside this many multiparts."""
    opened = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (level, level)
        for level in range(depth)
    )
    return opened + b"Content-Type: text/plain\n\ninside\n"


def flat(parts: int) -> bytes:
    return b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * parts + b"--b--\n"


def test_parts_are_read_in_order_and_with_their_encodings() -> None:
    raw = (
        b'Content-Type: multipart/mixed; boundary="a b"\r\n\r\npreamble\r\n--a b\r\n\r\nfirst\r\n'
        b"--a b\r\nContent-Type: multipart/alternative; boundary=in\r\n\r\n"
        b"--in\r\nContent-Transfer-Encoding: quoted-printable\r\n"
        b"Content-Type: text/plain; charset=iso-8859-1\r\n\r\nh=F6r=\r\nen\r\n"
        b"--in\r\nContent-Transfer-Encoding: BASE64\r\nContent-Type: text/html\r\n\r\n"
        b"PGI+Zm\r\n9vPC9iPg==\r\n--in--\r\n--a b\r\n\r\nlast\r\n--a b--\r\nepilogue"
    )
    assert [part.text for part in read_mail(raw).parts] == ["first", "hören", " foo ", "last"]


def test_depth_and_parts_are_limited() -> None:
    assert [part.text for part in read_mail(nested(DEPTH_MAX)).parts] == ["inside\n"]
    assert read_mail(nested(DEPTH_MAX + 1)).parts == ()
    assert len(read_mail(flat(PARTS_MAX - 1)).parts) == PARTS_MAX - 1
    assert len(read_mail(flat(PARTS_MAX * 2)).parts) == PARTS_MAX - 1
    assert read_mail(nested(20_000)).parts == ()


def test_headers_are_limited() -> None:
    long = Headers(b"A: " + b"x" * 10_000 + b"\nB: after")
    assert len(long.first("a")) == VALUE_CHARACTERS_MAX
    assert long.first("b") == "after"
    assert len(Headers(b"A: x\n" * 1000).all("a")) == VALUES_MAX
    assert "b" not in Headers(b"A: x\n" * (HEADER_BYTES_MAX // 5 + 1) + b"B: x")


def test_bytes_over_the_limit_are_ignored() -> None:
    large = report(failed("5.1.1", "")) + b"x" * (2 * BYTES_MAX)
    assert read_returned_mail(large).reports[0].kind is FeedbackKind.HARD
    assert len(read_mail(b"\n" + b"x" * (2 * BYTES_MAX)).parts[0].raw) == BYTES_MAX - 1
    assert len(read_mail(b"\n" + b"x" * (2 * BYTES_MAX)).parts[0].text) == TEXT_BYTES_MAX


def test_recipients_of_a_report_are_limited() -> None:
    blocks = "\n\n".join(failed("5.1.1", "") for _ in range(RECIPIENTS_MAX * 3))
    assert len(read_returned_mail(report(blocks)).reports) == RECIPIENTS_MAX


@pytest.mark.parametrize(
    ("charset", "text"),
    [
        ("utf-8", "hör"),
        ("UTF8", "hör"),
        ("no-such-charset", "hör"),
        ("", "hör"),
        # Codecs of Python that are not for mail, or slow.
        ("punycode", "hör"),
        ("idna", "hör"),
        ("unicode_escape", "hör"),
        ("zlib", "hör"),
        ("undefined", "hör"),
        ("a" * 5000, "hör"),
        ("utf-8\x00", "hör"),
        ("latin-1", "hÃ¶r"),
    ],
)
def test_charset_of_a_mail_is_used_only_where_it_is_one(charset: str, text: str) -> None:
    assert decoded("h\x00ör".encode(), charset) == text


DSN = report(failed("5.1.1", "smtp; 550 5.1.1 User unknown"))
HOSTILE: list[Callable[[int], bytes]] = [
    lambda n: b"A" * n,
    lambda n: b"\n" * n,
    lambda n: b"\r" * n,
    lambda n: b"\x00" * n,
    lambda n: b"a:\n" * n,
    lambda n: b" folded\n" * n,
    lambda n: b"Content-Type: multipart/mixed" + b";" * n + b"\n\nx",
    lambda n: b'Content-Type: a/b; x="' + b'\\"' * n + b"\n\nx",
    lambda n: b"Content-Type: a/b" + b"; boundary*0=b" * n + b"\n\nx",
    lambda n: b"Subject: " + b"=?utf-8?q?a" * n + b"\n\nx",
    lambda n: b"From: mailer-daemon\nSubject: " + b"<" * n + b"\n\n" + b"<" * n,
    lambda n: plain("From: mailer-daemon", "<a@" * n),
    lambda n: plain("From: mailer-daemon", "550 " * n),
    lambda n: plain("From: mailer-daemon", "user " * n),
    lambda n: plain("From: mailer-daemon", "-" * n),
    lambda n: plain("From: mailer-daemon", "<" * n, kind="text/html"),
    lambda n: plain("From: mailer-daemon", " \n" * n),
    lambda n: b"To: " + b"b+a@bounces.example.org," * n + b"\n\n",
    lambda n: b"To: " + b"a" * n + b"\n\n",
    lambda n: b"Date: " + b"1" * n + b"\n\n",
    lambda n: b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b \t" * n,
    lambda n: b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b" + b" " * n + b"x",
    flat,
    nested,
    lambda n: report("Action: failed\n\n" * n),
    lambda n: report("Diagnostic-Code: smtp; " + "5" * n + "\nAction: failed"),
    lambda n: report("Diagnostic-Code: smtp; 550 " + "user " * n + "\nAction: failed"),
    lambda n: report("Status: " + "5." * n + "\nAction: failed"),
    lambda n: report(" \n" * n),
    lambda n: DSN.replace(b"--=_b", b"--=_b" * (n // 10)),
    lambda _: DSN.replace(b"\r\n", b"\x00\r\n"),
    lambda _: DSN.decode().encode("utf-16"),
    lambda _: DSN.replace(b"User", b"\xff\xfe\x80"),
    lambda _: DSN[: len(DSN) // 2],
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_mail_is_read_without_an_error(number: int) -> None:
    for size in (1, 1000, 2 * BYTES_MAX // 3):
        assert read_returned_mail(HOSTILE[number](size), addresses=ADDRESSES).reports


def lines_run(raw: bytes) -> int:
    """Lines of Python that reading a mail runs."""
    count = 0

    def trace(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        read_returned_mail(raw, addresses=ADDRESSES)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_twice_the_mail_takes_at_most_twice_the_work(number: int) -> None:
    once, twice = (lines_run(HOSTILE[number](size)) for size in (2000, 4000))
    assert twice <= 2 * once + 500
