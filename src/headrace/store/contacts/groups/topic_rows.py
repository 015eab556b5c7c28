"""Topics and subscriptions from and to rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.domain.contacts.topics import Subscription, Topic, TopicFields

COLUMNS = "id, project_id, name, description, default_subscribed, created_us, updated_us"
#: Number of columns of a topic.
WIDTH = 7


def topic(row: Sequence[Any]) -> Topic:
    """A topic from `COLUMNS`."""
    topic_id, project_id, name, description, default, created_us, updated_us = row
    return Topic(
        id=topic_id,
        project_id=project_id,
        name=name,
        description=description,
        default_subscribed=bool(default),
        created_us=created_us,
        updated_us=updated_us,
    )


def subscription(
    contact_id: str, held: Topic, choice: Sequence[Any] | None, opted_out_us: int | None
) -> Subscription:
    """The subscription of a contact to a topic.

    Args:
        choice: `(is_subscribed, changed_us)`, None when it has chosen nothing.
        opted_out_us: when it unsubscribed from everything, None if it did not.
    """
    if choice is not None:
        subscribed, changed_us = bool(choice[0]), choice[1]
    elif opted_out_us is not None:
        # A topic newer than the opt-out was never subscribed by this contact.
        subscribed, changed_us = False, max(opted_out_us, held.created_us)
    else:
        subscribed, changed_us = held.default_subscribed, None
    return Subscription(
        contact_id=contact_id, topic=held, is_subscribed=subscribed, changed_us=changed_us
    )


def changed(held: Topic, fields: TopicFields) -> dict[str, Any]:
    """Column -> new value, of what a write changes."""
    wanted = {
        "name": fields.name,
        "description": fields.description,
        "default_subscribed": fields.default_subscribed,
    }
    return {
        name: value
        for name, value in wanted.items()
        if value is not None and value != getattr(held, name)
    }
