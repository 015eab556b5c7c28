"""What the API asks of a store about topics and subscriptions.

Every real change of a subscription inserts its system event in the same transaction. Setting what
holds already writes none, and neither does the end of a topic or a contact: nobody has unsubscribed
by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from headrace.domain.topics import OptOut, Subscription, Topic, TopicFields


class TooManyTopicsError(Exception):
    """The project has `TOPICS_MAX` topics."""


class TopicStore(Protocol):
    """Topics of all projects. A name that is taken raises `StoreConflictError`."""

    async def create(self, project_id: int, fields: TopicFields, now_us: int) -> Topic:
        """Create a topic; `fields.name` is given.

        Raises:
            TooManyTopicsError: there are `TOPICS_MAX` already.
        """
        ...

    async def get(self, project_id: int, topic_id: str) -> Topic | None:
        """One topic, None when the project has no such topic."""
        ...

    async def list(self, project_id: int, *, before: int | None, limit: int) -> Sequence[Topic]:
        """Topics of a project, newest first, made before `before`."""
        ...

    async def update(
        self, project_id: int, topic_id: str, fields: TopicFields, now_us: int
    ) -> Topic | None:
        """Write to a topic; None when there is none.

        A changed default holds at once for all who have never chosen, and writes no events.
        """
        ...

    async def delete(self, project_id: int, topic_id: str, now_us: int) -> bool:
        """Delete a topic; its subscriptions go by `remove_deleted`. False when there is none."""
        ...

    async def remove_deleted(self, limit: int) -> bool:
        """Remove up to `limit` rows of deleted topics; whether there is more to remove."""
        ...

    async def subscriptions(
        self, project_id: int, contact_id: str, *, before: int | None, limit: int
    ) -> Sequence[Subscription] | None:
        """How a contact stands to each topic, in the order of `list`; None without the contact."""
        ...

    async def subscribe(
        self, project_id: int, contact_id: str, topic_id: str, now_us: int, *, wanted: bool
    ) -> Subscription | None:
        """Subscribe a contact, or unsubscribe it; None without the contact or the topic."""
        ...

    async def opt_out(self, project_id: int, contact_id: str, now_us: int) -> OptOut | None:
        """Unsubscribe a contact from everything; None without the contact."""
        ...
