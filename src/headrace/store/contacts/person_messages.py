"""What forgetting a person asks of the messages to that person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from headrace.store.contacts.erasure_rows import Subject
from headrace.store.engine.transaction import Transaction


class PersonMessages(Protocol):
    """Messages to a person, with all that is kept about them; in the caller's transaction."""

    async def had_messages(self, tx: Transaction, contact_ids: Sequence[str]) -> bool:
        """Whether messages to one of the contacts are kept."""
        ...

    async def erase(self, tx: Transaction, subject: Subject, limit: int) -> dict[str, int] | None:
        """Remove up to `limit` messages; rows removed by place, None when none is left."""
        ...
