"""Placeholder identifiers, which identify nobody, and how a project defines them."""

from __future__ import annotations

import pytest

from headrace.domain.access.policies import check_policy
from headrace.domain.events.identity import IdentityType
from headrace.domain.events.placeholders import (
    BUILT_IN,
    POLICY_CHARACTERS_MAX,
    ROLES,
    WORDS,
    WORDS_MAX,
    Placeholders,
    check_words,
    placeholders,
)

EXTERNAL_ID, EMAIL, CONTACT_ID = (
    IdentityType.EXTERNAL_ID,
    IdentityType.EMAIL,
    IdentityType.CONTACT_ID,
)
NIL = "00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize(
    "value",
    [
        *("null", "NULL", " undefined ", "None", "anonymous", "unknown", "n/a", "test", "0", "-1"),
        *("00", "0000-0000", NIL, "{" + NIL + "}", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
        *("[object Object]", "NaN", "info@b.example", "noreply@b.example"),
    ],
)
def test_placeholder_identifies_no_contact(value: str) -> None:
    assert BUILT_IN(EXTERNAL_ID, value)


@pytest.mark.parametrize(
    "value",
    [
        *("nullable", "anonymous-1", "10", "0x", "user_42", "test2", "a", "f0", "00000001"),
        *("00000000-0000-4000-8000-00000000dead", "inf@b.example", "ann@info.example", "@"),
    ],
)
def test_lookalike_of_a_placeholder_identifies_a_contact(value: str) -> None:
    assert not BUILT_IN(EXTERNAL_ID, value)


def test_role_addresses_identify_no_contact() -> None:
    assert all(BUILT_IN(EMAIL, f"{role}@b.example") for role in ROLES)
    assert not BUILT_IN(EMAIL, "ann@b.example")
    assert not BUILT_IN(EMAIL, "ann+info@b.example")


def test_only_the_zero_contact_id_is_a_placeholder() -> None:
    assert BUILT_IN(CONTACT_ID, NIL)
    assert not BUILT_IN(CONTACT_ID, "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10")


def test_a_project_adds_words_of_its_own() -> None:
    own = Placeholders("Demo-User, orders@, shop@acme.example")
    assert own(EXTERNAL_ID, "demo-user")
    assert own(EXTERNAL_ID, "null")
    assert own(EMAIL, "orders@anywhere.example")
    assert own(EMAIL, "shop@acme.example")
    assert not own(EMAIL, "shop@other.example")


def test_project_can_remove_built_in_words() -> None:
    own = Placeholders("!test, !info@, !0, !support@acme.example")
    assert not own(EXTERNAL_ID, "TEST")
    assert not own(EXTERNAL_ID, "0")
    assert not own(EMAIL, "info@b.example")
    assert not own(EMAIL, "support@acme.example")
    assert own(EMAIL, "support@b.example")
    assert own(EXTERNAL_ID, "00")


def test_project_can_disable_the_whole_list() -> None:
    own = Placeholders("!*, mine")
    assert not any(own(EXTERNAL_ID, word) for word in WORDS)
    assert not own(EMAIL, "info@b.example")
    assert not own(CONTACT_ID, NIL)
    assert own(EXTERNAL_ID, "mine")


def test_the_list_is_made_once_for_each_policy() -> None:
    assert placeholders("") is BUILT_IN
    assert placeholders("a, b") is placeholders("a, b")


def test_policy_is_normalized() -> None:
    assert check_words(" A,b ,, a,!X ") == "a, b, !x"
    assert check_policy("placeholder_identifiers", "A, b") == "a, b"


@pytest.mark.parametrize(
    "text",
    [
        "a\nb",
        "a,!",
        ",".join(f"w{n}" for n in range(WORDS_MAX + 1)),
        "x" * (POLICY_CHARACTERS_MAX + 1),
    ],
)
def test_invalid_policy_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"must|has a"):
        check_policy("placeholder_identifiers", text)
