"""The interface to messages, runs and devices for erasure and export of a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from headrace.store.contract.automations import EntryRow, RejectedStart, RunDetail
from headrace.store.contract.messages import Message, MessageCopy, Suppressed
from headrace.store.contract.push import DeviceCopy
from headrace.store.engine.transaction import Transaction
from headrace.store.privacy.rows import Subject


class MessagePlace(msgspec.Struct, frozen=True):
    """A position in the messages to a person, or in the person's runs."""

    #: Number of the contact or address of the person that they are to.
    whose: int = 0
    created_us: int = -1
    message_id: str = ""


class PersonMessages(Protocol):
    """Messages to a person and the person's runs and devices, with all that is kept about them.

    In the caller's transaction.
    """

    async def had_messages(
        self, tx: Transaction, project_id: int, contact_ids: Sequence[str]
    ) -> bool:
        """Whether messages to one of the contacts, runs or devices are kept in the project."""
        ...

    async def erase(self, tx: Transaction, subject: Subject, limit: int) -> dict[str, int] | None:
        """Remove up to `limit` of each; rows removed by place, None when nothing is left."""
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

    async def runs(
        self, tx: Transaction, subject: Subject, after: MessagePlace, limit: int
    ) -> tuple[Sequence[RunDetail], MessagePlace | None]:
        """Up to `limit` runs from a position on, and where to continue; None at the end."""
        ...

    async def rejected_starts(
        self, tx: Transaction, subject: Subject, after: MessagePlace, limit: int
    ) -> tuple[Sequence[RejectedStart], MessagePlace | None]:
        """The same for events that started no run."""
        ...

    async def devices(self, tx: Transaction, subject: Subject) -> Sequence[DeviceCopy]:
        """Devices of the person with everything that is kept about them."""
        ...

    async def entries(self, tx: Transaction, subject: Subject) -> Sequence[EntryRow]:
        """When the person last started each automation."""
        ...
