"""Who sent a webhook is checked; the standard's own library signs."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from headrace.domain.messages.feedback.providers.credentials import (
    TOLERANCE_US,
    password_matches,
    standard_webhook_is_signed,
)

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
OTHER = "whsec_" + base64.b64encode(b"another-secret-of-24-byte").decode()
AT = datetime(2026, 6, 1, 10, tzinfo=UTC)
AT_US = int(AT.timestamp()) * 1_000_000
BODY = b'{"type": "email.delivered"}'


def headers(secret: str = SECRET, prefix: str = "webhook") -> dict[str, str]:
    return {
        f"{prefix}-id": "msg_1",
        f"{prefix}-timestamp": str(AT_US // 1_000_000),
        f"{prefix}-signature": Webhook(secret).sign("msg_1", AT, BODY.decode()),
    }


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def test_signature_is_accepted_within_the_tolerance() -> None:
    for now_us in (AT_US, AT_US - TOLERANCE_US, AT_US + TOLERANCE_US):
        assert standard_webhook_is_signed(headers(), BODY, [SECRET], now_us)
    for now_us in (0, AT_US - TOLERANCE_US - 1, AT_US + TOLERANCE_US + 1):
        assert not standard_webhook_is_signed(headers(), BODY, [SECRET], now_us)


def test_headers_of_svix_and_a_rotation_are_accepted() -> None:
    assert standard_webhook_is_signed(headers(prefix="svix"), BODY, [OTHER, SECRET], AT_US)
    both = headers()
    both["webhook-signature"] = f"v1a,x v1,eA== {both['webhook-signature']}"
    assert standard_webhook_is_signed(both, BODY, [SECRET], AT_US)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "msg_2"},
        {"webhook-id": ""},
        {"webhook-timestamp": "1780308001"},
        {"webhook-timestamp": "x"},
        {"webhook-timestamp": "٣"},
        {"webhook-timestamp": "9" * 400},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "\ud800é"},
        {"webhook-signature": "v2," + headers()["webhook-signature"].removeprefix("v1,")},
    ],
)
def test_altered_headers_are_rejected(change: dict[str, str]) -> None:
    assert not standard_webhook_is_signed({**headers(), **change}, BODY, [SECRET], AT_US)


def test_other_body_and_other_secret_are_rejected() -> None:
    assert not standard_webhook_is_signed(headers(), BODY + b" ", [SECRET], AT_US)
    assert not standard_webhook_is_signed(headers(OTHER), BODY, [SECRET], AT_US)
    assert not standard_webhook_is_signed(headers(), BODY, ["", "whsec_", "%%"], AT_US)
    short = "whsec_" + base64.b64encode(b"15 bytes at most"[:15]).decode()
    assert not standard_webhook_is_signed(headers(short), BODY, [short], AT_US)
    assert not standard_webhook_is_signed({}, BODY, [SECRET], AT_US)


@pytest.mark.parametrize(
    ("header", "matches"),
    [
        (basic("hook:secret"), True),
        (basic("hook:secret").replace("Basic", "basic"), True),
        (basic("hook:Secret"), False),
        (basic("hook:secret2"), False),
        (basic("other:secret"), False),
        (basic("hook:"), False),
        (basic("hooksecret"), False),
        ("Bearer hook:secret", False),
        ("Basic %%%", False),
        ("Basic \u00e9", False),
        ("Basic", False),
        ("", False),
    ],
)
def test_password_has_to_match(header: str, matches: bool) -> None:
    assert password_matches(header, "hook", "secret") is matches


def test_empty_password_matches_nothing() -> None:
    assert not password_matches(basic("hook:"), "hook", "")
