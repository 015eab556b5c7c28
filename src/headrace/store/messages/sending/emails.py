"""Requests to send: one e-mail, and a message for each recipient, in one transaction.

The id of an e-mail follows from its idempotency key, and the id of a message from the e-mail and
the recipient. So a repeat finds the rows of the first request and inserts none.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from headrace.domain.contacts.contact import ContactWrite
from headrace.domain.events.identity import IdentityType
from headrace.domain.messages.addresses import Mailbox
from headrace.domain.messages.email_request import EmailRequest
from headrace.domain.messages.kinds import Channel, MessageStatus
from headrace.domain.messages.places import email_id, lane_of_uuid
from headrace.domain.messages.sending_policies import SendingPolicies
from headrace.domain.messages.tokens import message_id
from headrace.store.access.sending_policies import read_sending_policies
from headrace.store.contacts.contact_writes import ContactWriter
from headrace.store.contacts.identifiers import owner_of
from headrace.store.contacts.races import ContactRaceError, write_contacts
from headrace.store.contacts.refs import find_ref
from headrace.store.contract.errors import StoreConflictError
from headrace.store.contract.messages import Domain, Email, EmailContent, FileRef, Message
from headrace.store.engine.dialect import sql
from headrace.store.engine.numbers import RowNumbers
from headrace.store.engine.system_events import SystemEvents
from headrace.store.engine.transaction import Database, Transaction
from headrace.store.messages.content.bodies import keep_parts, parts_of
from headrace.store.messages.message_rows import GET_EMAIL, MESSAGE, content_text, email, message

#: E-mails of a batch that one transaction writes.
SLICE = 20
MESSAGES_MAX = 1000

INSERT_EMAIL = sql(
    "INSERT INTO emails (lane, id, project_id, request_hash, content, created_us) "
    "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (lane, id) DO NOTHING"
)
REQUEST_HASH = sql("SELECT request_hash FROM emails WHERE lane = $1 AND id = $2")
INSERT_MESSAGE = sql(
    "INSERT INTO messages (lane, id, project_id, channel, kind, email_id, automation_id, run_id, "
    "step_key, content, contact_id, address, recipient, role, topic_id, template_version_id, "
    "domain, domain_id, group_key, state, due_us, first_due_us, horizon_s, created_us) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, "
    "$19, 'queued', $20, $20, $21, $22) ON CONFLICT (lane, id) DO NOTHING"
)
OF_EMAIL = sql(f"SELECT {MESSAGE} FROM messages WHERE email_id = $1 ORDER BY id LIMIT $2")


class UnknownContactError(Exception):
    """The project has no contact of the id that was given."""


class SendContext(msgspec.Struct, frozen=True, kw_only=True):
    """Context of a request that the project's data determines."""

    #: None where the relay `capture:` takes mail of any domain.
    domain: Domain | None
    #: Whether an unknown address creates a contact.
    create_contacts: bool


class SentEmail(msgspec.Struct, frozen=True, kw_only=True):
    """An e-mail and its messages."""

    email: Email
    messages: Sequence[Message]
    #: Whether it was there already.
    deduplicated: bool = False
    #: Whether the key was used for something else then.
    mismatch: bool = False


class NewMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message to insert."""

    id: str
    project_id: int
    content: EmailContent
    recipient: Mailbox
    role: str
    contact_id: str | None
    domain: Domain | None
    due_us: int
    email_id: str | None = None
    #: Of a step: automation, run and key of the step. Its content is kept with the message.
    step: tuple[str, str, str] | None = None
    horizon_s: int | None = None


class Emails:
    """E-mails of all projects."""

    def __init__(
        self, database: Database, system_events: SystemEvents, numbers: RowNumbers
    ) -> None:
        self._database = database
        self._system_events = system_events
        self._numbers = numbers

    async def policies(self, project_id: int) -> SendingPolicies:
        """The sending policies of a project."""
        return await self._database.read(lambda tx: read_sending_policies(tx, project_id))

    async def send(
        self, project_id: int, request: EmailRequest, context: SendContext, now_us: int
    ) -> SentEmail:
        """Write an e-mail and its messages, or find those of the first request with its key.

        Raises:
            UnknownContactError: nothing was written.
        """

        async def work(tx: Transaction) -> SentEmail:
            return await self._send(tx, project_id, request, context, now_us)

        return await write_contacts(lambda: self._database.write(work))

    async def send_many(
        self, project_id: int, requests: Sequence[tuple[EmailRequest, SendContext]], now_us: int
    ) -> list[SentEmail | UnknownContactError]:
        """Send each request separately; one outcome per request, same order.

        Reported outcomes are committed once this returns. After an error, some requests may be
        committed and some not; with idempotency keys it can be repeated.
        """
        outcomes: list[SentEmail | UnknownContactError] = []
        for start in range(0, len(requests), SLICE):
            part = requests[start : start + SLICE]

            async def work(
                tx: Transaction, part: Sequence[tuple[EmailRequest, SendContext]] = part
            ) -> list[SentEmail | UnknownContactError]:
                return [await self._outcome(tx, project_id, *one, now_us) for one in part]

            outcomes += await write_contacts(lambda: self._database.write(work))
        return outcomes

    async def _outcome(
        self,
        tx: Transaction,
        project_id: int,
        request: EmailRequest,
        context: SendContext,
        now_us: int,
    ) -> SentEmail | UnknownContactError:
        try:
            return await self._send(tx, project_id, request, context, now_us)
        except UnknownContactError as error:
            # Raised before anything is written, so the transaction continues.
            return error

    async def _send(
        self,
        tx: Transaction,
        project_id: int,
        request: EmailRequest,
        context: SendContext,
        now_us: int,
    ) -> SentEmail:
        own_id = email_id(project_id, request.idempotency_key)
        before = await find_sent(tx, project_id, own_id)
        if before is not None:
            return await _repeated(tx, before, request)
        contacts = await self._contacts(tx, project_id, request, context, now_us)
        content = content_of(request)
        made = Email(id=own_id, project_id=project_id, content=content, created_us=now_us)
        if not await insert_email(tx, made, request_hash(request)):
            # Another request with the same key was faster; the next attempt finds its rows.
            raise ContactRaceError
        await keep_parts(tx, project_id, own_id, parts_of(request), now_us)
        new = [
            NewMessage(
                id=message_id(own_id, "", recipient.address),
                project_id=project_id,
                content=content,
                recipient=recipient,
                role=role,
                contact_id=contacts[recipient.address],
                domain=context.domain,
                due_us=max(now_us, request.scheduled_us or 0),
                email_id=own_id,
            )
            for role, recipient in _recipients(request)
        ]
        await insert_messages(tx, new, now_us)
        sent = await find_sent(tx, project_id, own_id)
        assert sent is not None
        return sent

    async def _contacts(
        self,
        tx: Transaction,
        project_id: int,
        request: EmailRequest,
        context: SendContext,
        now_us: int,
    ) -> dict[str, str | None]:
        """The contact of each address."""
        if request.contact_id is not None:
            ref = await find_ref(tx, project_id, request.contact_id)
            if ref is None:
                raise UnknownContactError
            return {one.address: ref.id for one in request.recipients}
        writer = ContactWriter(tx, self._system_events, self._numbers, now_us, "api")
        found: dict[str, str | None] = {}
        # Always write identifiers in this order, to avoid deadlocks.
        for one in sorted(request.recipients, key=lambda each: each.address):
            owner = await owner_of(tx, project_id, IdentityType.EMAIL, one.address)
            if owner is None and context.create_contacts:
                owner = await _created(writer, project_id, one)
            found[one.address] = owner
        return found

    async def get(self, project_id: int, wanted_id: str) -> SentEmail | None:
        """One e-mail with its messages, the first `MESSAGES_MAX`; None when there is none."""
        return await self._database.read(
            lambda tx: find_sent(tx, project_id, wanted_id), snapshot=True
        )


def content_of(request: EmailRequest) -> EmailContent:
    """The stored content of a request, without its bodies."""
    return EmailContent(
        sender=request.sender,
        to=request.to,
        cc=request.cc,
        bcc=request.bcc,
        reply_to=request.reply_to,
        subject=request.subject,
        headers=request.headers,
        tags=request.tags,
        files=tuple(
            FileRef(name=one.name, type=one.type, bytes=len(one.data))
            for one in request.attachments
        ),
        template_version_id=request.template_version_id,
        variables=request.variables,
        topic_id=request.topic_id,
        kind=request.kind,
        track_opens=request.track_opens,
        track_clicks=request.track_clicks,
        to_audiences=bool(request.audiences),
    )


def request_hash(request: EmailRequest) -> bytes:
    """Hash that distinguishes a repeat from a key reused for another request."""
    return blake2b(msgspec.json.encode(request, order="sorted"), digest_size=16).digest()


async def insert_email(tx: Transaction, made: Email, hashed: bytes) -> bool:
    """Insert an e-mail; False when one with that id exists."""
    values = (made.id, made.project_id, hashed, content_text(made.content), made.created_us)
    return await tx.run(INSERT_EMAIL, lane_of_uuid(made.id), *values) > 0


async def insert_messages(tx: Transaction, new: Sequence[NewMessage], now_us: int) -> None:
    """Insert messages; existing ones are not changed."""
    await tx.run_many(INSERT_MESSAGE, [_values(one, now_us) for one in new])


def _values(new: NewMessage, now_us: int) -> tuple[Any, ...]:
    content = new.content
    return (
        *(lane_of_uuid(new.id), new.id, new.project_id, Channel.MAIL.value, content.kind.value),
        *(new.email_id, *(new.step or (None, None, None))),
        None if new.step is None else content_text(content),
        *(new.contact_id, new.recipient.address, new.recipient.wire_address, new.role),
        *(content.topic_id, content.template_version_id, content.sender.domain),
        *(None if new.domain is None else new.domain.id, new.recipient.domain),
        *(new.due_us, new.horizon_s, now_us),
    )


async def find_sent(tx: Transaction, project_id: int, wanted_id: str) -> SentEmail | None:
    """An e-mail with its messages."""
    row = await tx.row(GET_EMAIL, lane_of_uuid(wanted_id), wanted_id)
    if row is None or row[1] != project_id:
        return None
    found = email(row)
    named = (*found.content.to, *found.content.cc, *found.content.bcc)
    places = {one.address: place for place, one in enumerate(named)}
    rows = await tx.rows(OF_EMAIL, wanted_id, MESSAGES_MAX)
    messages = [message(each) for each in rows]
    messages.sort(key=lambda one: (places.get(one.address or "", len(places)), one.id))
    return SentEmail(email=found, messages=messages)


async def _repeated(tx: Transaction, before: SentEmail, request: EmailRequest) -> SentEmail:
    held = await tx.value(REQUEST_HASH, lane_of_uuid(before.email.id), before.email.id)
    mismatch = bytes(held) != request_hash(request)
    return msgspec.structs.replace(before, deduplicated=True, mismatch=mismatch)


async def _created(writer: ContactWriter, project_id: int, recipient: Mailbox) -> str:
    given = recipient.wire_address
    write = ContactWrite(
        email=recipient.address,
        email_original=None if given == recipient.address else given,
    )
    try:
        return (await writer.create(project_id, write)).id
    except StoreConflictError:
        # Absent a moment ago: it has just been created concurrently.
        raise ContactRaceError from None


def _recipients(request: EmailRequest) -> list[tuple[str, Mailbox]]:
    named = (("to", request.to), ("cc", request.cc), ("bcc", request.bcc))
    return [(role, one) for role, mailboxes in named for one in mailboxes]


def status_of(sent: SentEmail) -> MessageStatus:
    """The status of the whole e-mail: that of its least advanced message."""
    states = [one.state for one in sent.messages]
    if not states:
        return MessageStatus.QUEUED
    order = list(MessageStatus)
    return min(states, key=order.index)
