"""Messages of SNS are believed only with its certificate, for a known topic, and lately signed."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from headrace.domain.messages.feedback.providers.sns_signature import (
    AGE_MAX_US,
    AHEAD_MAX_US,
    certificate_url_is_allowed,
    confirm_url_is_allowed,
    is_signed,
    signed_text,
)

URL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a1b.pem"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:mail"
NOW = datetime(2026, 6, 1, 10, tzinfo=UTC)
NOW_US = int(NOW.timestamp()) * 1_000_000


@lru_cache
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def certificate(signer: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, days: int = 10) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(signer.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=20))
        .not_valid_after(NOW + timedelta(days=days))
    )
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@lru_cache
def trusted() -> bytes:
    return certificate(key())


def message(kind: str = "Notification", version: str = "2", **more: Any) -> dict[str, Any]:
    """A signed message; `more` is part of what is signed."""
    made = {
        "Type": kind,
        "MessageId": "22b80b92",
        "TopicArn": TOPIC,
        "Message": 'line\n{"eventType": "Bounce"}é',
        "Timestamp": "2026-06-01T10:00:00.000Z",
        "SignatureVersion": version,
        "SigningCertURL": URL,
        **more,
    }
    text = signed_text(made)
    assert text is not None
    digest = hashes.SHA1() if version == "1" else hashes.SHA256()  # noqa: S303
    made["Signature"] = base64.b64encode(key().sign(text, padding.PKCS1v15(), digest)).decode()
    return made


def check(made: dict[str, Any], now_us: int = NOW_US, pem: bytes | None = None) -> bool:
    return is_signed(made, trusted() if pem is None else pem, [TOPIC], now_us)


def test_signed_text_is_that_of_the_documentation() -> None:
    made = message(Subject="Hello")
    assert (
        signed_text(made)
        == (
            'Message\nline\n{"eventType": "Bounce"}é\nMessageId\n22b80b92\nSubject\nHello\n'
            f"Timestamp\n2026-06-01T10:00:00.000Z\nTopicArn\n{TOPIC}\nType\nNotification\n"
        ).encode()
    )
    confirmation = message("SubscriptionConfirmation", SubscribeURL="https://x", Token="t")
    assert (
        signed_text(confirmation)
        == (
            'Message\nline\n{"eventType": "Bounce"}é\nMessageId\n22b80b92\nSubscribeURL\nhttps://x\n'
            f"Timestamp\n2026-06-01T10:00:00.000Z\nToken\nt\nTopicArn\n{TOPIC}\n"
            "Type\nSubscriptionConfirmation\n"
        ).encode()
    )


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("subject", [{}, {"Subject": None}, {"Subject": "Hello"}])
def test_signed_message_is_accepted(version: str, subject: dict[str, Any]) -> None:
    assert check(message(version=version, **subject))


@pytest.mark.parametrize(
    "change",
    [
        {"Message": "other"},
        {"MessageId": "other"},
        {"Subject": "added"},
        {"Type": "UnsubscribeConfirmation"},
        {"Type": "Other"},
        {"Type": ["Notification"]},
        {"TopicArn": "arn:aws:sns:eu-west-1:123456789012:other"},
        {"Timestamp": "2026-06-01T10:00:01.000Z"},
        {"Timestamp": "now"},
        {"Timestamp": 5},
        {"Signature": ""},
        {"Signature": "%%"},
        {"Signature": None},
        {"SignatureVersion": "1"},
        {"SignatureVersion": "3"},
        {"SignatureVersion": 2},
        {"SignatureVersion": ["2"]},
        {"SigningCertURL": "https://example.org/SimpleNotificationService-0a1b.pem"},
        {"SigningCertURL": None},
        {"Message": None},
    ],
)
def test_altered_message_is_rejected(change: dict[str, Any]) -> None:
    assert not check({**message(), **change})


def test_signed_message_of_another_topic_is_rejected() -> None:
    assert not check(message(TopicArn="arn:aws:sns:eu-west-1:999999999999:mail"))


def test_message_is_accepted_for_an_hour() -> None:
    assert check(message(), NOW_US + AGE_MAX_US)
    assert not check(message(), NOW_US + AGE_MAX_US + 1)
    assert check(message(), NOW_US - AHEAD_MAX_US)
    assert not check(message(), NOW_US - AHEAD_MAX_US - 1)


def test_other_certificates_are_rejected() -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    elliptic = ec.generate_private_key(ec.SECP256R1())
    for pem in (certificate(other), certificate(elliptic), certificate(key(), -1), b"", b"\xff"):
        assert not check(message(), pem=pem)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        (URL, True),
        ("https://sns.us-gov-west-1.amazonaws.com/SimpleNotificationService-a.pem", True),
        ("https://sns.cn-north-1.amazonaws.com.cn/SimpleNotificationService-a.pem", True),
        (URL.replace("https", "http"), False),
        (URL.replace("https://", "https://user@"), False),
        (URL.replace(".com/", ".com:8443/"), False),
        (URL.replace(".com/", ".com.evil.example/"), False),
        (URL.replace("sns.", "evil.example/sns."), False),
        (URL.replace("sns.", "xsns."), False),
        # Anybody may own a bucket or a function of that name.
        (URL.replace("sns.eu-west-1", "sns.s3-eu-west-1"), False),
        (URL.replace("sns.eu-west-1", "sns.s3.eu-west-1"), False),
        (URL.replace(".pem", ".pem?x=1"), False),
        (URL.replace("SimpleNotificationService-0a1b", "a/../x"), False),
        (URL + "\n", False),
        ("", False),
    ],
)
def test_certificate_is_fetched_only_from_sns(url: str, allowed: bool) -> None:
    assert certificate_url_is_allowed(url) is allowed


def test_subscription_is_confirmed_only_at_sns() -> None:
    url = (
        f"https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=a1"
    )
    assert confirm_url_is_allowed(url)
    assert not confirm_url_is_allowed(url.replace("amazonaws.com", "amazonaws.com.evil.example"))
    assert not confirm_url_is_allowed(url.replace("ConfirmSubscription", "DeleteTopic"))
    assert not confirm_url_is_allowed(url + "#x")
