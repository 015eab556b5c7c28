"""Signatures, verified by two libraries that share no code with the signer."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import dkim as dkimpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.delivery.mail.compose import compose
from headrace.delivery.mail.dkim import (
    DkimKey,
    DkimKeyError,
    new_dkim_key,
    relaxed_body,
    sign,
)
from headrace.domain.messages.email_request import Attachment
from tests.delivery.mail.test_compose import CONTENT, MARKETING

NODE = Path(__file__).parents[1] / "node"
AT_S = 1_700_000_000
KEY = new_dkim_key("example.org", "hr1")


def verified(mail: bytes, key: DkimKey = KEY) -> bool:
    asked: list[bytes] = []

    def record(name: bytes, timeout: int = 5) -> bytes:
        assert timeout
        asked.append(name)
        return key.record_value.encode()

    found = dkimpy.verify(mail, dnsfunc=record)
    assert asked == [f"{key.record_name}.".encode()]
    return bool(found)


MAILS = {
    "text": compose(CONTENT),
    "html": compose(replace(MARKETING, html="<p>Hi \t  ü</p>\n\n\n", topic_id="t1")),
    "files": compose(
        replace(CONTENT, attachments=(Attachment(name="ü", type="image/png", data=b"\0" * 999),))
    ),
}


@pytest.mark.parametrize("mail", MAILS.values(), ids=MAILS)
def test_signature_verifies(mail: bytes) -> None:
    signed = sign(mail, KEY, AT_S)
    assert signed.endswith(mail)
    assert verified(signed)


def node_says(mails: list[bytes]) -> list[str]:
    assert (NODE / "node_modules" / "mailauth").is_dir(), (
        "the npm package is absent: npm ci --prefix tests/delivery/node"
    )
    asked = {
        "name": KEY.record_name,
        "record": KEY.record_value,
        "mails": [mail.decode("latin-1") for mail in mails],
    }
    done = subprocess.run(
        ["node", "dkim.mjs"],
        cwd=NODE,
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [str(one) for one in json.loads(done.stdout)]


def test_mailauth_verifies_and_rejects_changed_mail() -> None:
    signed = [sign(mail, KEY, AT_S) for mail in MAILS.values()]
    changed = signed[1].replace(b"One-Click", b"Two-Click")
    added = signed[0].replace(b"Subject:", b"Subject: other\r\nSubject:", 1)
    other = sign(MAILS["text"], new_dkim_key("example.org", "hr1"), AT_S)
    assert node_says([*signed, changed, added, other]) == ["pass"] * 3 + ["fail"] * 3


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"One-Click", b"One-Clock"),
        (b"List-Unsubscribe: ", b"List-Unsubscribe: <https://x.example>, "),
        (b"\r\n.\r\n", b"\r\n"),
        (b"=2E", b"=2D"),
        (b"\r\nFrom: ", b"\r\nFrom: x <x@example.org>\r\nFrom: "),
        (b"\r\nTo: ", b"\r\nTo: x@example.org\r\nTo: "),
        (b"\r\nSubject: ", b"\r\nSubject: x\r\nSubject: "),
        (b"\r\nSubject: ", b"\r\nReply-To: x@example.org\r\nSubject: "),
    ],
)
def test_changes_and_added_headers_break_the_signature(old: bytes, new: bytes) -> None:
    signed = sign(compose(MARKETING), KEY, AT_S)
    head, mark, rest = signed.partition(b"Message-ID:")
    changed = rest.replace(old, new, 1)
    if changed != rest:
        assert not verified(head + mark + changed)


def test_folding_in_transit_breaks_nothing() -> None:
    signed = sign(compose(CONTENT), KEY, AT_S)
    assert verified(signed.replace(b"\r\nDate: ", b"\r\ndate:\r\n\t ", 1))


@settings(max_examples=30)
@given(
    body=st.lists(
        st.sampled_from([b"a", b" ", b"\t", b"\r\n", b".", b"\xc3\xbc", b"  \r\n"]), max_size=20
    ).map(b"".join),
    value=st.text(alphabet="abc \t:;=", max_size=40),
)
def test_any_body_and_header_verifies(body: bytes, value: str) -> None:
    head = f"From: a@example.org\r\nTo: b@example.org\r\nSubject: x{value}\r\n\r\n"
    assert verified(sign(head.encode() + body + b"\r\n", KEY, AT_S))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", b""),
        (b"\r\n\r\n", b""),
        (b"a", b"a\r\n"),
        (b" C \r\nD \t E\r\n\r\n\r\n", b" C\r\nD E\r\n"),
        (b"a \t", b"a\r\n"),
    ],
)
def test_relaxed_body(body: bytes, expected: bytes) -> None:
    assert relaxed_body(body) == expected


def test_wrong_keys_are_named() -> None:
    with pytest.raises(DkimKeyError, match="cannot be read"):
        sign(MAILS["text"], replace(KEY, private_pem=b"nonsense"), AT_S)
    with pytest.raises(DkimKeyError, match="selector"):
        new_dkim_key("example.org", "a;b")
    assert "PRIVATE" not in repr(KEY)
