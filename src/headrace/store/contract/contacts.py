"""What the API asks of a store about contacts.

Every write that changes a contact inserts its system event in the same transaction.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.domain.contacts.contact import Contact
from headrace.domain.errors import ApiError


class ContactFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which contacts to list; every field that is set must match. Times in microseconds."""

    external_id: str | None = None
    email: str | None = None
    #: In the audience.
    audience_id: str | None = None
    #: Subscribed to the topic, by choice or by default.
    topic_id: str | None = None
    #: Prefix of `external_id` or of the normalized `email`. See `domain.contact_search`.
    search: str | None = None
    created_after_us: int | None = None
    created_before_us: int | None = None
    #: `(name, text)`: a string or list item equals the text, a number or boolean its parsed value.
    properties: tuple[tuple[str, str], ...] = ()


class ContactPage(msgspec.Struct, frozen=True):
    """Some contacts, newest first.

    `next_before` is where to continue, None at the end. A page can hold fewer contacts than asked
    for and still have a next one: a rare value is searched in bounded steps.
    """

    contacts: list[Contact]
    next_before: int | None


class Upserted(msgspec.Struct, frozen=True):
    """A contact after an upsert."""

    contact: Contact
    created: bool
    #: Whether the write changed something; True for a contact that was created.
    changed: bool


#: Contacts of a batch that one transaction writes, so that others wait only a few milliseconds.
UPSERTS_MAX = 100

#: One contact of a batch: written, or rejected as a single request would be.
UpsertOutcome = Upserted | ApiError


class Rehearsed(Exception):
    """Rolls back the transaction of a dry run and carries its outcomes."""

    def __init__(self, outcomes: Sequence[UpsertOutcome]) -> None:
        super().__init__()
        self.outcomes = outcomes
