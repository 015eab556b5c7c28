"""Topics, and which of them a contact is subscribed to.

A contact without a choice has the topic's default. A contact that has unsubscribed from everything
is subscribed only to what was chosen since, also among topics created later.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from headrace.domain.errors import FieldProblem, invalid
from headrace.domain.events.problems import read_object
from headrace.domain.ids import uuid_text
from headrace.domain.json_fields import FieldReader
from headrace.domain.labels import check_description, check_name

TOPIC_SUBSCRIBED = "sendrealm.topic.subscribed"
TOPIC_UNSUBSCRIBED = "sendrealm.topic.unsubscribed"

#: Topics of one project.
TOPICS_MAX = 1000
MEMBERS = ("name", "description", "default_subscribed")


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """A topic that contacts of a project can subscribe to."""

    id: str
    project_id: int
    name: str
    description: str
    #: Applies to every contact without a choice.
    default_subscribed: bool
    #: Unique within a project: it is the cursor of lists.
    created_us: int
    updated_us: int


class TopicFields(msgspec.Struct, frozen=True, kw_only=True):
    """Checked fields to write; None leaves one as it is."""

    name: str | None = None
    description: str | None = None
    default_subscribed: bool | None = None


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """The subscription of a contact to a topic."""

    contact_id: str
    topic: Topic
    is_subscribed: bool
    #: When it was chosen; None while the topic's default applies.
    changed_us: int | None


class OptOut(msgspec.Struct, frozen=True, kw_only=True):
    """A contact's opt-out of everything."""

    contact_id: str
    #: Time of the first opt-out.
    at_us: int
    #: Topics that it was subscribed to before.
    changed: int


def decode_topic(body: bytes, *, required: bool) -> TopicFields:
    """Decode and check the body of a write.

    Args:
        body: JSON text of an object.
        required: whether there must be a name.

    Raises:
        ApiError: with every problem listed.
    """
    check = FieldReader(read_object(body), MEMBERS, "a topic")
    if required:
        check.require("name")
    fields = TopicFields(
        name=check.text("name", check_name),
        description=check.text("description", check_description),
        default_subscribed=check.flag("default_subscribed"),
    )
    check.raise_if_any()
    return fields


def decode_subscribed(body: bytes) -> bool:
    """Decode `{"is_subscribed": true|false}`.

    Raises:
        ApiError: with every problem listed.
    """
    check = FieldReader(read_object(body), ("is_subscribed",), "a subscription")
    check.require("is_subscribed")
    wanted = check.flag("is_subscribed")
    check.raise_if_any()
    return bool(wanted)


def reject_everything() -> None:
    """Reject subscribing a contact to everything.

    Raises:
        ApiError: 422, always: consent is given to one topic at a time.
    """
    message = "can only be false here; subscribe to one topic at a time"
    raise invalid(FieldProblem("is_subscribed", message))


def subscription_id(contact_id: str, topic_id: str) -> str:
    """The id of a subscription: a UUID (version 8) derived from contact and topic.

    So it is the same before the first choice and after any number of changes.
    """
    digest = bytearray(blake2b(f"{contact_id} {topic_id}".encode(), digest_size=16).digest())
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return uuid_text(bytes(digest))


def topic_payload(topic: Topic, contact_id: str) -> str:
    """Payload of a `sendrealm.topic.*` event, as JSON text."""
    payload = {"topic_id": topic.id, "topic_name": topic.name, "contact_id": contact_id}
    return msgspec.json.encode(payload).decode()
