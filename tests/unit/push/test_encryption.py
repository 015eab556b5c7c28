"""Encryption of pushes, compared with the example of RFC 8291 and decrypted independently."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from headrace.delivery.push.encryption import (
    ENCRYPTED_BYTES_MAX,
    PayloadTooLargeError,
    SubscriptionKeysError,
    encrypt,
    read_keys,
)
from headrace.delivery.push.encryption import PAYLOAD_BYTES_MAX as FITS
from headrace.domain.push.content import PAYLOAD_BYTES_MAX
from tests.support.push_service import Subscription, decoded, encoded

#: RFC 8291, section 5 and appendix A.
P256DH = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
SENDER = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
SALT = "DGv6ra1nlYgDCS1FRnbzlw"
BODY = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6T"
    "lzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4"
    "a-fN"
)


def test_the_example_of_the_rfc() -> None:
    sender = ec.derive_private_key(int.from_bytes(decoded(SENDER), "big"), ec.SECP256R1())
    made = encrypt(
        b"When I grow up, I want to be a watermelon",
        read_keys(P256DH, AUTH),
        sender=sender,
        salt=decoded(SALT),
    )
    assert encoded(made) == BODY


@given(st.binary(max_size=FITS))
def test_a_browser_reads_what_was_encrypted(payload: bytes) -> None:
    browser = Subscription("https://push.example.org/1")
    made = encrypt(payload, read_keys(browser.p256dh, browser.auth))
    assert len(made) <= ENCRYPTED_BYTES_MAX
    assert browser.decrypt(made) == payload


def test_the_largest_payload_fits_exactly() -> None:
    keys = read_keys(P256DH, AUTH)
    assert len(encrypt(b"x" * FITS, keys)) == ENCRYPTED_BYTES_MAX
    assert FITS == PAYLOAD_BYTES_MAX == 3993
    with pytest.raises(PayloadTooLargeError):
        encrypt(b"x" * (FITS + 1), keys)


def test_two_pushes_share_neither_key_nor_salt() -> None:
    keys = read_keys(P256DH, AUTH)
    first, second = encrypt(b"same", keys), encrypt(b"same", keys)
    assert first[:16] != second[:16]
    assert first[21:86] != second[21:86]


@pytest.mark.parametrize(
    ("p256dh", "auth"),
    [("", AUTH), (P256DH, ""), (P256DH[:-4], AUTH), (P256DH, AUTH + "AAAA"), ("%" * 87, AUTH)],
)
def test_keys_of_a_wrong_form_are_rejected(p256dh: str, auth: str) -> None:
    with pytest.raises(SubscriptionKeysError):
        read_keys(p256dh, auth)


@pytest.mark.parametrize("point", [bytes(65), b"\x04" + b"\x01" * 64, b"\x02" + b"\x01" * 64])
def test_a_key_that_is_no_point_is_rejected(point: bytes) -> None:
    with pytest.raises(SubscriptionKeysError):
        encrypt(b"", read_keys(encoded(point), AUTH))


def test_padded_keys_are_read() -> None:
    assert read_keys(P256DH + "=", AUTH + "==") == read_keys(P256DH, AUTH)
