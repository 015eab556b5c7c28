"""Tokens decode to what they were made of, and nothing else decodes."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.messages.tokens import (
    LINK_MAX,
    LOCAL_PART_CHARACTERS_MAX,
    BounceAddresses,
    MessageKeys,
    TrackedHit,
    UnsubscribeTarget,
    message_id,
)

SECRET = b"0123456789abcdef0123456789abcdef"
KEYS = MessageKeys(SECRET)
OTHER = MessageKeys(SECRET[::-1])
ADDRESSES = BounceAddresses.of(SECRET, "bounces.example.org")
UUIDS = st.uuids().filter(lambda value: value.int != 0).map(str)
LINKS = st.integers(0, LINK_MAX)
ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+/. \u00e9"


def test_message_key_is_the_same_over_attempts_and_differs_by_each_part() -> None:
    key = KEYS.message_key(1, "run", "mail", "a@example.org")
    assert key == MessageKeys(SECRET).message_key(1, "run", "mail", "a@example.org")
    assert len(key) == 26
    assert key == key.lower()
    others = {
        KEYS.message_key(2, "run", "mail", "a@example.org"),
        KEYS.message_key(1, "runm", "ail", "a@example.org"),
        KEYS.message_key(1, "run", "mail", "b@example.org"),
        OTHER.message_key(1, "run", "mail", "a@example.org"),
    }
    assert len(others | {key}) == 5


def test_message_id_is_a_uuid5_of_run_step_and_recipient() -> None:
    made = message_id("run", "mail", "a@example.org")
    assert uuid.UUID(made).version == 5
    assert made == message_id("run", "mail", "a@example.org")
    assert made != message_id("run", "maila", "@example.org")


@given(message=UUIDS)
def test_bounce_address_survives_a_change_of_case(message: str) -> None:
    address = ADDRESSES.sender(message)
    assert len(address.split("@", maxsplit=1)[0]) <= LOCAL_PART_CHARACTERS_MAX
    assert ADDRESSES.read(address) == message
    assert ADDRESSES.read(f"<{address.upper()}>") == message


@given(contact=UUIDS, topic=UUIDS | st.none())
def test_unsubscribe_address_survives_a_change_of_case(contact: str, topic: str | None) -> None:
    address = ADDRESSES.unsubscribe(contact, topic)
    assert len(address.split("@", maxsplit=1)[0]) <= LOCAL_PART_CHARACTERS_MAX
    expected = UnsubscribeTarget(contact_id=contact, topic_id=topic)
    assert ADDRESSES.read(address) == expected
    assert ADDRESSES.read(address.upper()) == expected


@given(message=UUIDS, link=LINKS)
def test_tracking_token_has_40_characters_and_comes_back(message: str, link: int) -> None:
    token = KEYS.tracking(message, link)
    assert len(token) == 40
    assert KEYS.read_tracking(token) == TrackedHit(message, link)
    assert OTHER.read_tracking(token) is None


@given(
    contact=UUIDS,
    topic=UUIDS | st.none(),
    message=UUIDS | st.none(),
    project=st.integers(-(2**63), 2**63 - 1),
)
def test_unsubscribe_token_comes_back(
    contact: str, topic: str | None, message: str | None, project: int
) -> None:
    target = UnsubscribeTarget(
        contact_id=contact, topic_id=topic, project_id=project, message_id=message
    )
    assert KEYS.read_unsubscribe(KEYS.unsubscribe(target)) == target
    assert OTHER.read_unsubscribe(KEYS.unsubscribe(target)) is None


@given(message=UUIDS, link=LINKS, position=st.integers(0, 39), change=st.sampled_from(ALPHABET))
def test_any_other_character_makes_a_token_invalid(
    message: str, link: int, position: int, change: str
) -> None:
    token = KEYS.tracking(message, link)
    changed = token[:position] + change + token[position + 1 :]
    assert (KEYS.read_tracking(changed) is not None) == (changed == token)


@given(text=st.text(alphabet=ALPHABET, max_size=110) | st.text(max_size=60))
def test_forged_tokens_are_rejected(text: str) -> None:
    assert KEYS.read_tracking(text) is None
    assert KEYS.read_unsubscribe(text) is None
    assert KEYS.read_verp(text) is None
    assert KEYS.read_unsubscribe_mail(text) is None
    assert ADDRESSES.read(text) is None
    assert ADDRESSES.read(f"b+{text}@bounces.example.org") is None


def test_token_of_one_kind_is_invalid_as_another() -> None:
    contact = str(uuid.uuid4())
    mailbox = KEYS.unsubscribe_mail(contact, None)
    assert KEYS.read_verp(mailbox) is None
    assert KEYS.read_unsubscribe_mail(KEYS.verp(contact)) is None
    assert ADDRESSES.read(f"b+{mailbox}@bounces.example.org") is None
    assert ADDRESSES.read(ADDRESSES.sender(contact).replace("bounces.", "other.")) is None


def test_short_secret_and_large_link_are_rejected() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        MessageKeys(b"short")
    with pytest.raises(ValueError, match="five bytes"):
        KEYS.tracking(str(uuid.uuid4()), LINK_MAX + 1)
