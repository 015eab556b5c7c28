"""What the API asks of a store about contacts that are one person: conflicts, merges, undoing.

A merge leaves events as they are. What is kept of the lost contact besides is its identifiers, its
id among them, which lead to the survivor from then on.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from headrace.domain.contacts.contact import Contact
from headrace.domain.contacts.properties import PropertyValue

#: Identifiers that may lead to one contact besides its own, over all its merges.
ALIASES_MAX = 1000
#: Events of a contact that are counted for a preview.
EVENTS_COUNTED_MAX = 100_000


class ContactPair(msgspec.Struct, frozen=True, kw_only=True):
    """Two contacts that events take for one."""

    #: Grows in the order in which pairs are found.
    number: int
    id: str
    #: Of the last event: whom it was resolved to, and who else has one of its identifiers.
    contact_id: str
    other_contact_id: str
    #: In which of `external_id` and `email` they met.
    fields: tuple[str, ...]
    #: Events that took them for one.
    events: int
    last_event_id: str
    first_us: int
    last_us: int
    #: Who has said that the two are not one person, and why; None: nobody has.
    dismissed_us: int | None
    dismissed_by: str | None
    dismissed_reason: str | None


class Merge(msgspec.Struct, frozen=True, kw_only=True):
    """A merge that was made, perhaps undone since."""

    #: Grows with time.
    number: int
    id: str
    #: The survivor.
    contact_id: str
    #: The contact that was merged into it.
    other_contact_id: str
    actor: str
    created_us: int
    undone_us: int | None
    undone_by: str | None


class MergePreview(msgspec.Struct, frozen=True, kw_only=True):
    """What a merge would do."""

    #: The survivor as it would be.
    contact: Contact
    #: The other as it is.
    other: Contact
    #: Fields of the survivor that would change.
    changes: dict[str, dict[str, PropertyValue | None]]
    #: `(kind, value)` that would lead to the survivor without being its own.
    aliases: tuple[tuple[str, str], ...]
    #: What the survivor would take over: events (counted up to `EVENTS_COUNTED_MAX`), topics that
    #: the other has chosen and it has not, audiences that it is not in yet.
    events: int
    topics: int
    audiences: int


class Refusal(StrEnum):
    """Why a merge or its undoing is not done."""

    #: One of the two contacts is not there.
    NOT_FOUND = "not_found"
    #: Both ids lead to one contact.
    SAME_CONTACT = "same_contact"
    TOO_MANY_ALIASES = "too_many_aliases"
    #: There is no such merge.
    NO_SUCH_MERGE = "no_such_merge"
    UNDONE_BEFORE = "undone_before"
    #: A later merge of the survivor, or of it into another, must be undone first.
    NOT_THE_LAST = "not_the_last"
    #: The survivor was deleted.
    CONTACT_GONE = "contact_gone"
    #: Somebody else has an identifier of the contact that would come back.
    IDENTIFIER_TAKEN = "identifier_taken"
    #: The contacts of a conflict are one by now.
    RESOLVED = "resolved"


class PairStatus(StrEnum):
    """What became of a conflict whose contacts are still two."""

    OPEN = "open"
    DISMISSED = "dismissed"


class MergeRefusedError(Exception):
    """Nothing was changed; `refusal` says why."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal


class PairPage(msgspec.Struct, frozen=True):
    """Some pairs, newest first; `next_before` is where to go on, None at the end."""

    pairs: list[ContactPair]
    next_before: int | None
