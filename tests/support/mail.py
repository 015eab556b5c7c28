"""Messages in a store, processed without a relay."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from headrace.domain.messages.email_request import EmailRequest, email_of
from headrace.domain.messages.smtp_replies import ReplyClass
from headrace.store.contract.messages import Claimed, Ended, EndResult, Message, Start, StartResult
from headrace.store.messages.sending.emails import SendContext, SentEmail
from tests.support.events import START_US
from tests.support.session import StoreSession

OWNER = "somewhere/1:1:1"
CONTEXT = SendContext(domain=None, create_contacts=True)


def email_request(to: str = "ann@example.net", **members: Any) -> EmailRequest:
    """A valid request; `members` are the fields of its body."""
    body = {"from": "Shop <news@example.org>", "to": [to], "subject": "Hello", "text": "Hi."}
    return email_of(json.loads(json.dumps(body | members)), START_US, topicless_marketing=True)


def new_project(session: StoreSession, name: str = "shop", *, worker: bool = True) -> int:
    """A project, and a worker that may claim its messages."""
    if worker:
        session.run(session.store.processing.acquire_leadership("processing", OWNER, 600_000_000))
    return session.run(session.store.projects.create(name, START_US, actor="test")).id


def set_policy(session: StoreSession, project_id: int, name: str, value: Any) -> None:
    session.run(session.store.projects.set_policy(project_id, name, value, START_US, actor="test"))


def send(session: StoreSession, project_id: int, request: EmailRequest) -> SentEmail:
    now_us = session.store.clock_us()
    return session.run(session.store.messages.emails.send(project_id, request, CONTEXT, now_us))


def send_one(session: StoreSession, project_id: int, **members: Any) -> Message:
    (message,) = send(session, project_id, email_request(**members)).messages
    return message


def claim(session: StoreSession, limit: int = 10, owner: str = OWNER) -> list[Claimed]:
    return list(session.run(session.store.messages.outbox.claim(owner, limit)))


def start(
    session: StoreSession, claimed: Claimed, owner: str = OWNER, mail_key: str | None = None
) -> StartResult:
    begun = Start(claimed=claimed, relay="test", subject="Hello", mail_key=mail_key)
    results = session.run(session.store.messages.outbox.start(owner, [begun]))
    return results[claimed.message.id]


def record(
    session: StoreSession,
    claimed: Claimed,
    outcome: ReplyClass = ReplyClass.SENT,
    attempt: int | None = 1,
    owner: str = OWNER,
    **members: Any,
) -> EndResult:
    ended = Ended(claimed=claimed, attempt=attempt, outcome=outcome, relay="test", **members)
    results = session.run(session.store.messages.outbox.record(owner, [ended]))
    return results[claimed.message.id]


def deliver(
    session: StoreSession, outcome: ReplyClass = ReplyClass.SENT, **members: Any
) -> EndResult:
    """Claim the one message that is due, begin it and record its result."""
    (claimed,) = claim(session)
    begun = start(session, claimed)
    assert begun.attempt is not None, begun
    return record(session, claimed, outcome, begun.attempt, **members)


def message_of(session: StoreSession, project_id: int, message: Message) -> Message:
    """The current state of the message."""
    assert message.email_id is not None
    sent = session.run(session.store.messages.emails.get(project_id, message.email_id))
    assert sent is not None
    return next(one for one in sent.messages if one.id == message.id)


def make_due(session: StoreSession, message: Message) -> None:
    """Make messages that wait for a later time due now."""
    session.place.run_sql(
        "UPDATE messages SET due_us = 1 WHERE id = ? AND due_us IS NOT NULL", message.id
    )


def replaced(claimed: Claimed, **fields: Any) -> Claimed:
    return msgspec.structs.replace(claimed, **fields)
