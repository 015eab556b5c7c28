"""Rows of messages and of what belongs to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.domain.messages.feedback.form import FeedbackKind, Source
from headrace.domain.messages.feedback.notification import Effect, Intake
from headrace.domain.messages.kinds import Channel, MessageKind, MessageStatus
from headrace.domain.messages.places import lane_of_uuid
from headrace.store.contract.messages import (
    AttemptRecord,
    Claimed,
    Email,
    EmailContent,
    EngagementRecord,
    Message,
    Notification,
)
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Row, Transaction

FIELDS = msgspec.structs.fields(Message)
MESSAGE = ", ".join(field.name for field in FIELDS)
_CLAIMED = (
    *("claims", "first_due_us", "deferred_us", "horizon_s", "crashes", "protocol_errors"),
    *("unknowns", "domain_bad_us", "group_key"),
)
#: Columns that a claim returns.
CLAIMED = f"{MESSAGE}, {', '.join(_CLAIMED)}"
ATTEMPT = ", ".join(field.name for field in msgspec.structs.fields(AttemptRecord))
ENGAGEMENT = ", ".join(field.name for field in msgspec.structs.fields(EngagementRecord))
NOTIFICATION = ", ".join(field.name for field in msgspec.structs.fields(Notification))
EMAIL = "id, project_id, content, created_us"

GET = sql(f"SELECT {MESSAGE} FROM messages WHERE lane = $1 AND id = $2")
HOLD = sql(
    f"SELECT {CLAIMED}, owner, lease_until_us FROM messages WHERE lane = $1 AND id = $2 FOR UPDATE"
)
GET_EMAIL = sql(f"SELECT {EMAIL} FROM emails WHERE lane = $1 AND id = $2")
CONTENT = sql("SELECT content FROM messages WHERE lane = $1 AND id = $2")


class Held(msgspec.Struct, frozen=True):
    """A message whose row is locked."""

    claimed: Claimed
    owner: str | None
    lease_until_us: int

    def is_of(self, owner: str, claim: int) -> bool:
        """Whether that claim is still valid."""
        return (
            self.owner == owner
            and self.claimed.claim == claim
            and self.claimed.message.state is MessageStatus.SENDING
        )


def key_of(message_id: str) -> tuple[int, str]:
    """Key of a message's row."""
    return lane_of_uuid(message_id), message_id


def message(row: Sequence[Any]) -> Message:
    """The message of a row of `MESSAGE`."""
    values = {field.name: value for field, value in zip(FIELDS, row, strict=False)}
    values["channel"] = Channel(values["channel"])
    values["kind"] = MessageKind(values["kind"])
    values["state"] = MessageStatus(values["state"])
    return Message(**values)


def claimed(row: Sequence[Any]) -> Claimed:
    """The claim of a row of `CLAIMED`."""
    values = dict(zip(_CLAIMED, row[len(FIELDS) :], strict=False))
    return Claimed(message=message(row), claim=values.pop("claims"), **values)


def attempt(row: Row) -> AttemptRecord:
    """The attempt of a row of `ATTEMPT`."""
    return AttemptRecord(**dict(zip(ATTEMPT.split(", "), row, strict=True)))


def engagement(row: Row) -> EngagementRecord:
    """The engagement of a row of `ENGAGEMENT`."""
    return EngagementRecord(**dict(zip(ENGAGEMENT.split(", "), row, strict=True)))


def notification(row: Row) -> Notification:
    """The notification of a row of `NOTIFICATION`."""
    values = dict(zip(NOTIFICATION.split(", "), row, strict=True))
    values["intake"] = Intake(values["intake"])
    values["source"] = Source(values["source"])
    values["kind"] = FeedbackKind(values["kind"])
    values["effect"] = Effect(values["effect"])
    return Notification(**values)


def email(row: Row) -> Email:
    """The e-mail of a row of `EMAIL`."""
    email_id, project_id, content, created_us = row
    return Email(
        id=email_id, project_id=project_id, content=read_content(content), created_us=created_us
    )


def read_content(text: str) -> EmailContent:
    """Decode stored content."""
    return msgspec.json.decode(text, type=EmailContent)


def content_text(content: EmailContent) -> str:
    """Encode content for the store."""
    return msgspec.json.encode(content).decode()


async def hold(tx: Transaction, message_id: str) -> Held | None:
    """Lock a message until the end of the transaction."""
    row = await tx.row(HOLD, *key_of(message_id))
    return None if row is None else Held(claimed(row), row[-2], row[-1])


async def find_message(tx: Transaction, message_id: str) -> Message | None:
    """A message of any project."""
    row = await tx.row(GET, *key_of(message_id))
    return None if row is None else message(row)


async def find_content(tx: Transaction, held: Message) -> EmailContent | None:
    """What a mail sends; None when its e-mail is gone, and for a push."""
    if held.channel is Channel.PUSH:
        return None
    if held.email_id is not None:
        row = await tx.row(GET_EMAIL, *key_of(held.email_id))
        return None if row is None else email(row).content
    text = await tx.value(CONTENT, *key_of(held.id))
    return None if text is None else read_content(text)
