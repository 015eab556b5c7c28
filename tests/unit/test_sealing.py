"""Secrets are sealed for one purpose with a key that has an id."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.access.sealing import (
    KEYS_MAX,
    KeyRing,
    Purpose,
    SealedError,
    key_id_of,
    new_key_text,
    parse_keys,
)

OLD, NEW = parse_keys(new_key_text()) + parse_keys(new_key_text())


@given(st.text(max_size=3000))
def test_what_is_sealed_is_opened(text: str) -> None:
    ring = KeyRing([NEW, OLD])
    sealed = ring.seal(text, Purpose.DKIM)
    assert key_id_of(sealed) == NEW.id
    assert ring.open(sealed, Purpose.DKIM) == text
    assert len(text) < 8 or text not in sealed
    assert sealed != ring.seal(text, Purpose.DKIM)


def test_older_keys_open_and_the_first_one_seals() -> None:
    sealed = KeyRing([OLD]).seal("secret", Purpose.WEBHOOK)
    ring = KeyRing([NEW, OLD])
    assert ring.open(sealed, Purpose.WEBHOOK) == "secret"
    assert key_id_of(ring.seal("secret", Purpose.WEBHOOK)) == NEW.id


def test_without_a_key_secrets_stay_plain() -> None:
    ring = KeyRing()
    assert ring.seal("whsec_x", Purpose.WEBHOOK) == "whsec_x"
    assert KeyRing([NEW]).open("whsec_x", Purpose.WEBHOOK) == "whsec_x"
    assert key_id_of("whsec_x") is None


def test_a_missing_key_is_named() -> None:
    sealed = KeyRing([OLD]).seal("secret", Purpose.DKIM)
    with pytest.raises(SealedError, match=OLD.id):
        KeyRing([NEW]).open(sealed, Purpose.DKIM)


def test_keys_are_read_again_for_an_unknown_one() -> None:
    sealed = KeyRing([NEW]).seal("secret", Purpose.DKIM)
    ring = KeyRing([OLD], lambda: [NEW, OLD])
    assert ring.open(sealed, Purpose.DKIM) == "secret"
    assert ring.ids == (NEW.id, OLD.id)


@pytest.mark.parametrize("at", [20, 40, -2])
def test_an_altered_secret_is_not_opened(at: int) -> None:
    ring = KeyRing([NEW])
    sealed = ring.seal("secret", Purpose.DKIM)
    letter = "A" if sealed[at] != "A" else "B"
    end = sealed[at:][1:]
    with pytest.raises(SealedError):
        ring.open(sealed[:at] + letter + end, Purpose.DKIM)


@pytest.mark.parametrize("coded", ["", "!", "AAAA", "\u00e9", "A" * 17])
def test_no_text_after_the_key_id_is_an_error_of_its_own(coded: str) -> None:
    with pytest.raises(SealedError):
        KeyRing([NEW]).open(f"sealed:{NEW.id}:{coded}", Purpose.DKIM)


def test_a_secret_is_opened_only_for_its_purpose() -> None:
    ring = KeyRing([NEW])
    with pytest.raises(SealedError):
        ring.open(ring.seal("secret", Purpose.DKIM), Purpose.WEBHOOK)


def test_keys_are_separated_by_commas_or_lines() -> None:
    text = f"{NEW.text},{OLD.text}\n"
    assert [key.id for key in parse_keys(text)] == [NEW.id, OLD.id]
    assert [key.id for key in parse_keys(f"\n{NEW.text} ,\n {NEW.text}\n")] == [NEW.id]
    assert parse_keys("") == parse_keys(" ,\n") == ()


@pytest.mark.parametrize(
    "text",
    [
        "too short",
        "x" * 31,
        "x" * 513,
        "\u00e9" * 40,
        ",".join(f"{number:040}" for number in range(KEYS_MAX + 1)),
    ],
)
def test_what_is_no_key_is_rejected_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError, match="must") as raised:
        parse_keys(text)
    assert text not in str(raised.value)
