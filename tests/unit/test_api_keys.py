"""The text of API keys, and what is stored of it."""

from __future__ import annotations

import msgspec
import pytest

from headrace.domain.access.api_keys import (
    KEY_CHARACTERS,
    Scope,
    hash_secret,
    issue_key,
    secret_matches,
    split_key,
)

NOW_US = 1_780_928_100_000_000


def issued() -> tuple[bytes, str]:
    made = issue_key(1, frozenset({Scope.INGEST}), name="till", now_us=NOW_US)
    return made.text.encode(), made.key.public_id


def test_an_issued_key_is_split_into_its_parts() -> None:
    text, public_id = issued()
    assert len(text) == KEY_CHARACTERS
    parts = split_key(text)
    assert parts is not None
    assert parts[0] == public_id
    assert text == b"hr_" + public_id.encode() + b"_" + parts[1]


def test_only_the_hash_of_the_secret_is_kept() -> None:
    made = issue_key(1, frozenset(Scope), name="till", now_us=NOW_US)
    secret = made.text.rpartition("_")[2].encode()
    assert made.key.secret_hash == hash_secret(secret)
    assert secret.decode() not in repr(made.key)
    assert secret_matches(secret, made.key.secret_hash)
    assert not secret_matches(secret[:-1] + b"?", made.key.secret_hash)
    assert not secret_matches(b"\xff" * 64, made.key.secret_hash)


def test_keys_are_unique() -> None:
    assert len({issued()[0] for _ in range(100)}) == 100


@pytest.mark.parametrize("at", [0, 2, 19])
@pytest.mark.parametrize("byte", [b"-", b"\xff", b"\0", b" ", b"\xc3"])
def test_key_with_wrong_prefix_or_length_is_invalid(at: int, byte: bytes) -> None:
    text, _ = issued()
    assert split_key(text[:at] + byte + text[at + 1 :]) is None


@pytest.mark.parametrize("at", [3, 18, 20, 83])
@pytest.mark.parametrize("byte", [b"-", b"\xff", b"\0", b" ", b"_", b"\xc3"])
def test_key_with_invalid_characters_is_invalid(at: int, byte: bytes) -> None:
    text, _ = issued()
    assert split_key(text[:at] + byte + text[at + 1 :]) is None


@pytest.mark.parametrize("text", [b"", b"hr_", b"hr__", b"_" * KEY_CHARACTERS, b"x" * 1_000_000])
def test_arbitrary_text_is_no_key(text: bytes) -> None:
    assert split_key(text) is None
    key, _ = issued()
    assert split_key(key + b"0") is None
    assert split_key(key[:-1]) is None


def test_a_key_is_usable_until_it_expires_or_is_revoked() -> None:
    made = issue_key(1, frozenset(Scope), name="t", now_us=NOW_US, expires_us=NOW_US + 10).key
    assert made.usable_at(NOW_US + 9)
    assert not made.usable_at(NOW_US + 10)
    endless = issue_key(1, frozenset(Scope), name="t", now_us=NOW_US).key
    assert endless.usable_at(1 << 62)
    revoked = msgspec.structs.replace(endless, revoked_us=NOW_US)
    # Even before that time: the clock that set it may be ahead.
    assert not any(revoked.usable_at(at_us) for at_us in (NOW_US - 10, NOW_US, NOW_US + 10))
