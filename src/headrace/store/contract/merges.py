"""What the API asks of a store about contacts of one person: conflicts, merges, undoing merges.

A merge does not change events. Of the merged contact, only its identifiers are kept, its id
included; they lead to the survivor from then on.
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
    """Two contacts that events treat as one."""

    #: Grows in the order in which pairs are found.
    number: int
    id: str
    #: Of the last event: the contact it resolved to, and the other one that has one of its
    #: identifiers.
    contact_id: str
    other_contact_id: str
    #: Which of `external_id` and `email` they share in events.
    fields: tuple[str, ...]
    #: Events that treated them as one.
    events: int
    last_event_id: str
    first_us: int
    last_us: int
    #: Who stated that the two are different people, and why; None when not dismissed.
    dismissed_us: int | None
    dismissed_by: str | None
    dismissed_reason: str | None


class Merge(msgspec.Struct, frozen=True, kw_only=True):
    """A merge, possibly undone since."""

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

    #: The survivor after the merge.
    contact: Contact
    #: The other contact as it is.
    other: Contact
    #: Fields of the survivor that would change.
    changes: dict[str, dict[str, PropertyValue | None]]
    #: `(kind, value)` that would lead to the survivor without being its own.
    aliases: tuple[tuple[str, str], ...]
    #: What the survivor would take over: events (counted up to `EVENTS_COUNTED_MAX`), topics that
    #: only the other has chosen, audiences that it is not in yet.
    events: int
    topics: int
    audiences: int


class MergeRejection(StrEnum):
    """Why a merge or its undoing is rejected."""

    #: One of the two contacts does not exist.
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
    #: Another contact has an identifier of the contact to restore.
    IDENTIFIER_TAKEN = "identifier_taken"
    #: The contacts of the conflict are merged already.
    RESOLVED = "resolved"


class PairStatus(StrEnum):
    """Status of a conflict whose contacts are not merged."""

    OPEN = "open"
    DISMISSED = "dismissed"


class MergeRejectedError(Exception):
    """Nothing was changed; `rejection` says why."""

    def __init__(self, rejection: MergeRejection) -> None:
        super().__init__(rejection.value)
        self.rejection = rejection


class PairPage(msgspec.Struct, frozen=True):
    """Some pairs, newest first; `next_before` is where to continue, None at the end."""

    pairs: list[ContactPair]
    next_before: int | None
