"""Identities of events: normalization, identities and lanes."""

from __future__ import annotations

import unicodedata
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.domain.email import EMAIL_CHARACTERS_MAX, normalize_email
from headrace.domain.events.fields import check_contact_id, check_external_id, check_idempotency_key
from headrace.domain.events.identity import LANES, IdentityType, idempotency_hash, lane_of
from headrace.domain.events.placeholders import BUILT_IN

LOCAL = st.from_regex(r"[A-Za-z0-9_+-]{1,12}(\.[A-Za-z0-9_+-]{1,6})?", fullmatch=True)
LABEL = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9-]{0,5}[A-Za-z0-9])?", fullmatch=True)
DOMAIN = st.lists(LABEL.filter(lambda label: "--" not in label), min_size=1, max_size=3).map(
    lambda labels: ".".join([*labels, "Example"])
)
WIDE_LOCAL = st.text("aéÜßñ日本Ω", min_size=1, max_size=8)
WIDE_DOMAIN = st.sampled_from(["Bücher.example", "ПРИМЕР.example", "日本.example", "faß.example"])
ADDRESSES = st.builds("{}@{}".format, LOCAL | WIDE_LOCAL, DOMAIN | WIDE_DOMAIN)


@settings(max_examples=300)
@given(ADDRESSES)
def test_normalizing_twice_changes_nothing(address: str) -> None:
    once = normalize_email(address)
    assert normalize_email(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert once == once.lower()
    assert once.rpartition("@")[2].isascii()


@settings(max_examples=300)
@given(ADDRESSES, st.sampled_from(["", " ", "\t", "  "]), st.sampled_from(["NFC", "NFD"]))
def test_case_white_space_and_composition_do_not_matter(
    address: str, blank: str, form: str
) -> None:
    spelled = blank + unicodedata.normalize(form, address) + blank  # type: ignore[arg-type]
    assert normalize_email(spelled) == normalize_email(address)
    if address.isascii():
        assert normalize_email(address.upper()) == normalize_email(address)


@pytest.mark.parametrize(
    ("address", "normalized"),
    [
        ("MIKE@X.ORG", "mike@x.org"),
        (" mike@x.org\t", "mike@x.org"),
        ("mike+tag@x.org", "mike+tag@x.org"),
        ("m.i.k.e@x.org", "m.i.k.e@x.org"),
        ("a@Bücher.example", "a@xn--bcher-kva.example"),
        ("a@XN--BCHER-KVA.example", "a@xn--bcher-kva.example"),
        ("re\u0301my@x.org", "rémy@x.org"),
        ("RÉMY@x.org", "rémy@x.org"),
        ("a@staging.test", "a@staging.test"),
        ("o'brien@x.org", "o'brien@x.org"),
    ],
)
def test_an_address_has_one_normalized_form(address: str, normalized: str) -> None:
    assert normalize_email(address) == normalized


@pytest.mark.parametrize(
    "address",
    [
        *("", " ", "a", "@", "a@", "@b.example", "a@b@c.example", "a b@c.example", "a@b"),
        *("a@b.example\r\nBcc: c@d.example", "a\0@b.example", "a@-b.example", "a@b..example"),
        *(".a@b.example", "a.@b.example", "a..b@c.example", "a@[127.0.0.1]", "a@b.example."),
        *("a@" + "b" * 64 + ".example", "Mike <mike@x.org>"),
        *("a" * 60 + "@" + ".".join(["b" * 60] * 4) + ".example", "a@b.example\n", "x" * 10_000),
    ],
)
def test_invalid_address_is_rejected_with_a_sentence(address: str) -> None:
    with pytest.raises(ValueError, match=r"^(is not a valid e-mail|must be at most)") as raised:
        normalize_email(address)
    assert str(raised.value).isascii()
    assert len(str(raised.value)) < 250


@settings(max_examples=300)
@given(st.text(max_size=40))
def test_any_text_is_normalized_or_rejected(text: str) -> None:
    try:
        normalized = normalize_email(text)
    except ValueError:
        return
    assert len(normalized) <= EMAIL_CHARACTERS_MAX
    assert normalize_email(normalized) == normalized


# --- lanes and keys ---


@pytest.mark.parametrize(
    ("project_id", "kind", "value", "lane"),
    [
        (1, IdentityType.EXTERNAL_ID, "customer-1", 222),
        (2, IdentityType.EXTERNAL_ID, "customer-1", 196),
        (1, IdentityType.EMAIL, "customer-1", 58),
        (1, IdentityType.CONTACT_ID, "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10", 107),
        (1 << 40, IdentityType.EXTERNAL_ID, "número \U0001f600", 136),
    ],
)
def test_lanes_are_the_same_in_every_release(
    project_id: int, kind: IdentityType, value: str, lane: int
) -> None:
    """Stored rows carry their lane, so these numbers may never change."""
    assert lane_of(project_id, kind, value) == lane


def test_lanes_are_filled_evenly() -> None:
    count = Counter(lane_of(1, IdentityType.EXTERNAL_ID, f"customer-{n}") for n in range(51_200))
    assert set(count) == set(range(LANES))
    assert min(count.values()) > 120
    assert max(count.values()) < 300


def test_idempotency_hashes_are_the_same_in_every_release() -> None:
    """A key is found again only if its hash never changes."""
    assert idempotency_hash(1, "order-1").hex() == "73cd3b325e7aa01038399e2544d1d157"


@given(st.integers(1, 1 << 40), st.integers(1, 1 << 40), st.text(max_size=9), st.text(max_size=9))
def test_keys_of_different_projects_never_collide(
    one: int, other: int, key: str, other_key: str
) -> None:
    same = idempotency_hash(one, key) == idempotency_hash(other, other_key)
    assert same == ((one, key) == (other, other_key))


# --- fields ---


@given(st.uuids())
def test_a_uuid_has_one_form(value: object) -> None:
    text = str(value)
    if set(text) <= {"0", "-"}:
        return
    assert check_contact_id(text) == check_contact_id(text.upper()) == text


@given(st.text(max_size=300))
def test_external_id_is_kept_exactly_or_rejected(text: str) -> None:
    blank = not text.strip()
    control = any(unicodedata.category(character) == "Cc" for character in text)
    if 1 <= len(text) <= 255 and not blank and not control:
        assert check_external_id(text) == text
    else:
        with pytest.raises(ValueError, match=r"^must"):
            check_external_id(text)


@given(st.text(max_size=300) | st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126)))
def test_idempotency_key_is_kept_exactly_or_rejected(text: str) -> None:
    if 1 <= len(text) <= 255 and all(" " <= character <= "~" for character in text):
        if BUILT_IN.is_unset_key(text):
            with pytest.raises(ValueError, match=r"^looks like an unset variable"):
                check_idempotency_key(text)
        else:
            assert check_idempotency_key(text) == text
    else:
        with pytest.raises(ValueError, match=r"^must"):
            check_idempotency_key(text)
