"""Messages of the Segment specification, which RudderStack and Jitsu share.

A message becomes one event. Its properties are kept byte for byte; what else it says is added to
the payload under names that begin with `$`, so nothing that a client sends is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from hashlib import sha256
from typing import Any

import msgspec

from headrace.domain.compat.members import (
    Members,
    encoded,
    flattened,
    object_of,
    read_members,
    text_of,
    value_of,
    with_members,
)
from headrace.domain.compat.names import event_name
from headrace.domain.compat.times import Clock, read_time
from headrace.domain.email import normalize_email
from headrace.domain.errors import FieldProblem, echo, invalid
from headrace.domain.events.event_types import Draft, DraftLimits
from headrace.domain.events.fields import (
    IDEMPOTENCY_KEY_CHARACTERS_MAX,
    check_external_id,
    check_payload,
)
from headrace.domain.events.identity import IdentityType

#: Before the id of somebody who is not known yet, who is another contact until then.
ANONYMOUS = "anon:"
KEY_PREFIX = "segment:"
#: Members that the client added to the payload, of which none can be a client's own.
EVENT, CONTEXT, SET, OTHER, TIMESTAMP = "$event", "$context", "$set", "$other", "$timestamp"


class Kind(StrEnum):
    """The type of a message."""

    TRACK = "track"
    IDENTIFY = "identify"
    PAGE = "page"
    SCREEN = "screen"
    GROUP = "group"
    ALIAS = "alias"


#: Events that name earlier ids of their person, see `headrace.domain.contacts.earlier_ids`.
IDENTIFIED, ALIASED = "user.identified", "user.aliased"
SET_ONCE, EMAIL = "$set_once", "email"
#: Members of a payload that write to the contact.
_WRITES = frozenset({SET, SET_ONCE})
_NAMES = {
    Kind.IDENTIFY: IDENTIFIED,
    Kind.PAGE: "page.viewed",
    Kind.SCREEN: "screen.viewed",
    Kind.GROUP: "group.joined",
    Kind.ALIAS: ALIASED,
}
#: Members with a place in an event, and those that are about the request.
_PLACED = frozenset(
    {
        *("type", "event", "userId", "anonymousId", "previousId", "groupId", "messageId"),
        *("properties", "traits", "context", "name", "category", "timestamp"),
        *("originalTimestamp", "sentAt", "receivedAt", "writeKey", "_metadata"),
    }
)


class Message:
    """One message.

    Args:
        text: its JSON, without what cannot be stored (`members.storable`).
        kind: decided by the route; None when the message says it itself.
        context: of the batch, for messages without one.
        is_public: whether the key is public, so that anybody may have sent it. Such a message fills
            an empty address, but changes none.

    Raises:
        ApiError: 422, it is no JSON object.
    """

    def __init__(
        self,
        text: bytes,
        kind: Kind | None,
        context: bytes | None = None,
        *,
        is_public: bool = False,
    ) -> None:
        try:
            self._members: Members = read_members(text)
        except ValueError as error:
            raise invalid(FieldProblem("", f"must be a JSON object: {echo(str(error))}")) from None
        self._kind = kind
        self._batch_context = context
        self._is_public = is_public

    @property
    def id(self) -> str | None:
        """Its `messageId`; None when it has none that can be read."""
        try:
            return text_of(self._members, "messageId")
        except ValueError:
            return None

    def draft(self, limits: DraftLimits, clock: Clock) -> Draft:
        """The event that it becomes.

        Raises:
            ApiError: 413 or 422, it cannot become one.
        """
        kind = self._kind or self._read_kind()
        external_id, anonymous_id = self._identity(limits)
        context = self._read("context", object_of) or self._batch_context
        traits = self._traits(kind, context)
        email, email_original = (None, None) if kind is Kind.GROUP else self._email(traits, context)
        if external_id is not None:
            by, value = IdentityType.EXTERNAL_ID, external_id
        elif email is not None:
            by, value = IdentityType.EMAIL, email
        else:
            raise invalid(FieldProblem("userId", "is required, or anonymousId"))
        occurred_us, unused_time = self._occurred(clock)
        more = self._more(kind, traits, context, anonymous_id, unused_time)
        return Draft(
            event=self._name(kind),
            contact_id=None,
            external_id=external_id,
            email=email,
            email_original=email_original,
            payload=self._payload(kind, more, limits),
            occurred_us=occurred_us,
            idempotency_key=self._key(limits),
            identity_type=by,
            identity_value=value,
        )

    def _read(self, name: str, read: Callable[[Members, str], Any]) -> Any:
        try:
            return read(self._members, name)
        except ValueError as error:
            raise invalid(FieldProblem(name, str(error))) from None

    def _read_kind(self) -> Kind:
        text = self._read("type", text_of) or ""
        try:
            return Kind(text.lower())
        except ValueError:
            problem = f"must be one of {', '.join(Kind)}, got {echo(text)!r}"
            raise invalid(FieldProblem("type", problem)) from None

    # --- who ---

    def _identity(self, limits: DraftLimits) -> tuple[str | None, str | None]:
        """The external_id, and the anonymous id if that is not it."""
        user_id = self._read("userId", text_of)
        anonymous_id = self._read("anonymousId", text_of)
        if user_id is not None:
            self._check_id("userId", user_id)
        if anonymous_id is None:
            return user_id, None
        is_placeholder = limits.placeholders
        if is_placeholder(IdentityType.EXTERNAL_ID, anonymous_id):
            # With the prefix it would be a contact that many people share.
            return user_id or anonymous_id, None
        self._check_id("anonymousId", ANONYMOUS + anonymous_id)
        if user_id is None or is_placeholder(IdentityType.EXTERNAL_ID, user_id):
            return ANONYMOUS + anonymous_id, None
        return user_id, anonymous_id

    def _check_id(self, name: str, text: str) -> None:
        try:
            check_external_id(text)
        except ValueError as error:
            raise invalid(FieldProblem(name, str(error))) from None

    def _traits(self, kind: Kind, context: bytes | None) -> Members:
        """Traits of the message and, of an identify, those of its context."""
        traits = self._read("traits", object_of)
        members = {} if traits is None else read_members(traits)
        if kind is Kind.IDENTIFY:
            return {**_traits_of(context), **members}
        return members

    def _email(self, traits: Members, context: bytes | None) -> tuple[str | None, str | None]:
        """The normalized address and, where it differs, the one that was sent.

        One that is no address does not identify anybody; the payload has it all the same.
        """
        for members in (traits, _traits_of(context)):
            try:
                sent = text_of(members, "email")
                if sent is not None:
                    email = normalize_email(sent)
                    return email, None if sent == email else sent
            except ValueError:
                continue
        return None, None

    # --- what ---

    def _name(self, kind: Kind) -> str:
        if kind is not Kind.TRACK:
            return _NAMES[kind]
        return event_name(self._event())

    def _event(self) -> str:
        event: str | None = self._read("event", text_of)
        if event is None:
            raise invalid(FieldProblem("event", "is required"))
        return event

    def _more(
        self,
        kind: Kind,
        traits: Members,
        context: bytes | None,
        anonymous_id: str | None,
        unused_time: bytes | None,
    ) -> dict[str, bytes]:
        """Members of the payload besides the properties."""
        more = self._of_kind(kind, traits)
        if anonymous_id is not None:
            more["anonymous_id"] = msgspec.json.encode(anonymous_id)
        if context is not None:
            more[CONTEXT] = context
        other = {
            name: raw
            for name, raw in self._members.items()
            if name not in _PLACED and raw not in _EMPTY
        }
        if other:
            more[OTHER] = encoded(other)
        if unused_time is not None:
            more[TIMESTAMP] = unused_time
        return more

    def _of_kind(self, kind: Kind, traits: Members) -> dict[str, bytes]:
        match kind:
            case Kind.TRACK:
                return {EVENT: msgspec.json.encode(self._event())}
            case Kind.PAGE | Kind.SCREEN:
                return self._texts({"name": "name", "category": "category"})
            case Kind.IDENTIFY:
                return self._sets(flattened(traits))
            case Kind.GROUP:
                return {**self._texts({"groupId": "group_id"}), "traits": encoded(traits)}
        previous = self._texts({"previousId": "previous_id"})
        if not previous:
            raise invalid(FieldProblem("previousId", "is required"))
        return previous

    def _sets(self, properties: dict[str, bytes]) -> dict[str, bytes]:
        once = {}
        if self._is_public and EMAIL in properties:
            once[EMAIL] = properties.pop(EMAIL)
        sets = {SET: encoded(properties)}
        return {**sets, SET_ONCE: encoded(once)} if once else sets

    def _texts(self, names: dict[str, str]) -> dict[str, bytes]:
        """Members by the names that they have in the payload; absent ones are left out."""
        texts = {name: self._read(sent, text_of) for sent, name in names.items()}
        return {name: msgspec.json.encode(text) for name, text in texts.items() if text is not None}

    def _payload(self, kind: Kind, more: dict[str, bytes], limits: DraftLimits) -> str:
        properties = self._read("properties", object_of) or b"{}"
        if self._is_public and not _WRITES.isdisjoint(read_members(properties)):
            problem = "must not contain $set or $set_once with a public key"
            raise invalid(FieldProblem("properties", problem))
        if kind in (Kind.IDENTIFY, Kind.GROUP, Kind.ALIAS) and properties != b"{}":
            more["properties"] = properties
            properties = b"{}"
        try:
            return check_payload(with_members(properties, more), limits.payload_bytes_max)
        except ValueError as error:
            raise invalid(FieldProblem("payload", str(error))) from None

    # --- when, and which ---

    def _occurred(self, clock: Clock) -> tuple[int, bytes | None]:
        """When it happened, and a time that was sent and cannot be used."""
        members = self._members
        name = "timestamp" if members.get("timestamp", b"null") != b"null" else "originalTimestamp"
        raw = members.get(name, b"null")
        if raw == b"null":
            return clock.now_us, None
        at_us = _time_of(members, name)
        if at_us is not None:
            at_us = clock.corrected(at_us, _time_of(members, "sentAt"))
        if at_us is None:
            return clock.now_us, raw if len(raw) <= _TIME_BYTES_MAX else b'"?"'
        return at_us, None

    def _key(self, limits: DraftLimits) -> str | None:
        message_id = self._read("messageId", text_of)
        # An id that every message of a program has by mistake names none of them.
        if message_id is None or limits.placeholders.is_unset_key(message_id):
            return None
        return idempotency_key(KEY_PREFIX, message_id)


_EMPTY = (b"null", b"{}", b"[]", b'""')
#: Of a time that cannot be used, as it is kept.
_TIME_BYTES_MAX = 100


def _time_of(members: Members, name: str) -> int | None:
    try:
        return read_time(value_of(members, name))
    except ValueError:
        return None


def sent_time(members: Members) -> int | None:
    """When a request was sent, by the clock of its sender; None when it does not say so."""
    return _time_of(members, "sentAt")


def _traits_of(context: bytes | None) -> Members:
    if context is None or b'"traits"' not in context:
        return {}
    try:
        traits = object_of(read_members(context), "traits")
        return {} if traits is None else read_members(traits)
    except ValueError:
        return {}


def idempotency_key(prefix: str, text: str) -> str:
    """The key of a message by the id that its client gave it.

    Ids that no key can hold are hashed.
    """
    key = prefix + text
    if len(key) <= IDEMPOTENCY_KEY_CHARACTERS_MAX and key.isascii() and key.isprintable():
        return key
    return prefix + sha256(text.encode()).hexdigest()
