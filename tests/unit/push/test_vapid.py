"""Tokens of VAPID: valid for one origin, signed once in hours."""

from __future__ import annotations

import pytest

from headrace.delivery.push.keys import new_vapid_keys
from headrace.delivery.push.vapid import VALID_S, VapidKeyError, VapidTokens, public_key
from tests.support.push_service import verified_claims

NOW_S = 1_800_000_000
ORIGIN = "https://fcm.googleapis.com"
KEYS = new_vapid_keys()


def test_a_token_names_origin_end_and_subject() -> None:
    tokens = VapidTokens("mailto:ops@example.org")
    value = tokens.header(KEYS.private_pem, ORIGIN, NOW_S)
    claims = verified_claims(value)
    assert claims == {"aud": ORIGIN, "exp": NOW_S + VALID_S, "sub": "mailto:ops@example.org"}
    assert VALID_S <= 12 * 3600
    assert value.endswith(f", k={KEYS.public}")
    assert public_key(KEYS.private_pem) == KEYS.public


def test_without_a_subject_there_is_no_claim() -> None:
    claims = verified_claims(VapidTokens("").header(KEYS.private_pem, ORIGIN, NOW_S))
    assert "sub" not in claims


def test_a_token_is_cached_by_key_and_origin() -> None:
    tokens = VapidTokens("")
    first = tokens.header(KEYS.private_pem, ORIGIN, NOW_S)
    assert tokens.header(KEYS.private_pem, ORIGIN, NOW_S + 10 * 3600) == first
    assert tokens.header(KEYS.private_pem, "https://other.example", NOW_S) != first
    assert tokens.header(new_vapid_keys().private_pem, ORIGIN, NOW_S) != first


def test_a_token_is_renewed_before_its_end_and_after_the_clock_was_set_back() -> None:
    tokens = VapidTokens("")
    first = tokens.header(KEYS.private_pem, ORIGIN, NOW_S)
    later = tokens.header(KEYS.private_pem, ORIGIN, NOW_S + 11 * 3600)
    assert later != first
    back = tokens.header(KEYS.private_pem, ORIGIN, NOW_S - 86_400)
    assert verified_claims(back)["exp"] == NOW_S - 86_400 + VALID_S


def test_a_token_that_a_service_rejected_is_signed_again() -> None:
    tokens = VapidTokens("")
    first = tokens.header(KEYS.private_pem, ORIGIN, NOW_S)
    tokens.forget(KEYS.private_pem, ORIGIN)
    assert tokens.header(KEYS.private_pem, ORIGIN, NOW_S) != first


@pytest.mark.parametrize("key", ["", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_a_key_that_cannot_be_read_is_named(key: str) -> None:
    with pytest.raises(VapidKeyError):
        VapidTokens("").header(key, ORIGIN, NOW_S)
