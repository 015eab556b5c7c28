"""Ids by which a person was known before: who signs in was somebody anonymous until then."""

from __future__ import annotations

from typing import Protocol

import msgspec

from headrace.domain.compat.segment import ALIASED, ANONYMOUS, IDENTIFIED
from headrace.domain.events.event import Source

#: Sources whose events name such ids. In other events the same members are a sender's own data.
_SOURCES = frozenset({Source.SEGMENT})


class _Payload(msgspec.Struct):
    anonymous_id: str | None = None
    previous_id: str | None = None


class Identified(Protocol):
    """The identifiers of a contact."""

    @property
    def external_id(self) -> str | None: ...
    @property
    def email(self) -> str | None: ...


_decode = msgspec.json.Decoder(_Payload).decode


def earlier_ids(source: int, event: str, payload: str) -> tuple[str, ...]:
    """External ids that an event names as earlier ones of its person, the likeliest first."""
    if source not in _SOURCES or event not in (IDENTIFIED, ALIASED):
        return ()
    try:
        sent = _decode(payload)
    except msgspec.MsgspecError:
        return ()
    if event == IDENTIFIED:
        return () if sent.anonymous_id is None else (ANONYMOUS + sent.anonymous_id,)
    if sent.previous_id is None:
        return ()
    return (ANONYMOUS + sent.previous_id, sent.previous_id)


def is_anonymous(contact: Identified) -> bool:
    """Whether nothing is known of a contact but an anonymous id."""
    external_id = contact.external_id
    return contact.email is None and external_id is not None and external_id.startswith(ANONYMOUS)
