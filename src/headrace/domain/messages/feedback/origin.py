"""Finds which message a report is about, and how far that can be trusted."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

from headrace.domain.ids import UUID_TEXT
from headrace.domain.messages.feedback.mime import Headers
from headrace.domain.messages.tokens import TOKEN_HEADER, BounceAddresses, UnsubscribeTarget

#: Addresses of one mail that are checked for a token.
ADDRESSES_MAX = 50

#: Without control characters and marks that reorder text, as these are shown.
_ADDRESS = re.compile(
    r"[^\s<>@:;,\"()\[\]\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]{1,64}"
    r"@[A-Za-z0-9._\[\]:-]{1,255}"
)
_MESSAGE_ID = re.compile(r"<?([!-;=?-~]{1,250}@[!-;=?-~]{1,250})>?")
_DATE_CHARACTERS_MAX = 100
#: Fields of a mail that name the address it was delivered to.
_DELIVERED_TO = ("delivered-to", "x-original-to", "envelope-to", "to")


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What a report says about the mail it is about."""

    #: From a signed address; the only verified one.
    message_id: str | None = None
    #: The opt-out of a mail to an unsubscribe address, verified.
    unsubscribe: UnsubscribeTarget | None = None
    envelope_id: str | None = None
    original_message_id: str | None = None


def find_origin(
    addresses: BounceAddresses | None,
    recipients: Iterable[str],
    headers: Headers,
    returned: Headers,
    more: Iterable[str] = (),
    envelope_id: str = "",
) -> Origin:
    """Find the message.

    Args:
        addresses: the store's bounce addresses; None: no token is believed.
        recipients: envelope recipients of the report.
        headers: of the report.
        returned: of the mail that it returns.
        more: further texts with addresses, such as `Original-Mail-From`.
        envelope_id: `Original-Envelope-Id`.
    """
    texts = [*recipients, *headers.all(*_DELIVERED_TO), *more, *returned.all("return-path")]
    found = None
    if addresses is not None:
        found = read_addresses(addresses, texts) or header_token(addresses, returned)
    claimed = envelope_id.strip()
    return Origin(
        message_id=found if isinstance(found, str) else None,
        unsubscribe=found if isinstance(found, UnsubscribeTarget) else None,
        envelope_id=claimed.lower() if UUID_TEXT.fullmatch(claimed) else None,
        original_message_id=message_id_of(returned.first("message-id")),
    )


def header_token(addresses: BounceAddresses, returned: Headers) -> str | None:
    """The message that the header with its token names, verified."""
    return addresses.keys.read_verp(returned.first(TOKEN_HEADER.lower()).strip())


def read_addresses(
    addresses: BounceAddresses, texts: Iterable[str]
) -> str | UnsubscribeTarget | None:
    """The content of the first address with a valid token."""
    checked = 0
    for text in texts:
        for address in _ADDRESS.findall(text):
            checked += 1
            found = addresses.read(address)
            if found is not None or checked >= ADDRESSES_MAX:
                return found
    return None


def address_of(text: str) -> str | None:
    """The address of a field such as `rfc822; ann@example.org`."""
    match = _ADDRESS.search(text)
    return match[0].rstrip(".") if match else None


def message_id_of(text: str) -> str | None:
    """A `Message-ID` without its angle brackets."""
    match = _MESSAGE_ID.fullmatch(text.strip())
    return match[1] if match else None


def time_of(text: str) -> int | None:
    """Microseconds since 1970 of a date as in mail (RFC 5322); None when there is none."""
    try:
        parsed = parsedate_to_datetime(text[:_DATE_CHARACTERS_MAX])
        aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
        return microseconds(aware)
    except (ArithmeticError, IndexError, TypeError, ValueError):
        return None


def microseconds(at: datetime) -> int | None:
    """Microseconds since 1970 of a time with an offset; None before 1970."""
    value = int(at.timestamp()) * 1_000_000 + at.microsecond
    return value if value > 0 else None
