"""The interface to messages for erasure and export of a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from headrace.store.contract.messages import Message, MessageCopy, Suppressed
from headrace.store.engine.transaction import Transaction
from headrace.store.privacy.rows import Subject


class MessagePlace(msgspec.Struct, frozen=True):
    """A position in the messages to a person."""

    #: Number of the contact or address of the person that they are to.
    whose: int = 0
    created_us: int = -1
    message_id: str = ""


class PersonMessages(Protocol):
    """Messages to a person, with all that is kept about them; in the caller's transaction."""

    async def had_messages(self, tx: Transaction, contact_ids: Sequence[str]) -> bool:
        """Whether messages to one of the contacts are kept."""
        ...

    async def erase(self, tx: Transaction, subject: Subject, limit: int) -> dict[str, int] | None:
        """Remove up to `limit` messages; rows removed by place, None when none is left."""
        ...

    async def count(self, tx: Transaction, subject: Subject) -> dict[str, int]:
        """Rows by place that `erase` would remove, all of them."""
        ...

    async def page(
        self, tx: Transaction, subject: Subject, after: MessagePlace, limit: int
    ) -> tuple[Sequence[Message], MessagePlace | None]:
        """Up to `limit` messages from a position on, and where to continue; None at the end."""
        ...

    async def copy(self, tx: Transaction, of: Message) -> MessageCopy:
        """A message with everything that is kept about it."""
        ...

    async def suppressions(self, tx: Transaction, subject: Subject) -> Sequence[Suppressed]:
        """Entries of the suppression list with an address of the person."""
        ...
