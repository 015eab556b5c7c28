"""Messages for people: lists, one message in detail, and settling unknown outcomes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.domain.contacts.contact import Contact
from headrace.domain.messages.email_request import RECIPIENTS_MAX
from headrace.domain.messages.guardrails import Reason, Verdict, trace
from headrace.domain.messages.kinds import MessageStatus
from headrace.store.access.audit import write_audit
from headrace.store.access.sending_policies import read_sending_policies
from headrace.store.contacts.identifiers import ids_of
from headrace.store.contract.messages import (
    AttemptRecord,
    Email,
    EmailContent,
    EngagementRecord,
    Message,
    Start,
)
from headrace.store.engine.dialect import sql
from headrace.store.engine.numbers import BIGINT_MAX
from headrace.store.engine.system_events import SystemEvents
from headrace.store.engine.transaction import Database, Transaction
from headrace.store.messages.keys import StoredKeys
from headrace.store.messages.message_rows import (
    ATTEMPT,
    CLAIMED,
    EMAIL,
    ENGAGEMENT,
    MESSAGE,
    attempt,
    claimed,
    email,
    engagement,
    find_content,
    find_message,
    hold,
    key_of,
    message,
)
from headrace.store.messages.sending.facts import find_contact, read_facts
from headrace.store.messages.sending.outcomes import Outcomes
from headrace.store.messages.waiting_runs import wake_run
from headrace.store.messages.warm_ups import with_warm_up

#: Attempts and kinds of engagement that one message shows.
SHOWN_MAX = 200
#: Messages of one e-mail in a list of e-mails; a request has no more recipients.
OUTCOMES_MAX = 3 * RECIPIENTS_MAX

_PAGE = "AND (created_us, id) < ($2, $3) ORDER BY created_us DESC, id DESC LIMIT $4"
LIST = sql(f"SELECT {MESSAGE} FROM messages WHERE project_id = $1 {_PAGE}")
LIST_IN_STATE = sql(f"SELECT {MESSAGE} FROM messages WHERE project_id = $1 AND state = $5 {_PAGE}")
#: States of a partial index, in the order of its definition: else SQLite cannot use it.
NOT_ARRIVED = (
    *(MessageStatus.SKIPPED, MessageStatus.BOUNCED, MessageStatus.FAILED, MessageStatus.BLOCKED),
    *(MessageStatus.EXPIRED, MessageStatus.UNKNOWN, MessageStatus.CANCELLED),
    MessageStatus.COMPLAINED,
)
_IN_INDEX = ", ".join(f"'{state}'" for state in NOT_ARRIVED)
LIST_NOT_ARRIVED = sql(
    f"SELECT {MESSAGE} FROM messages WHERE project_id = $1 AND state = $5 "
    f"AND state IN ({_IN_INDEX}) {_PAGE}"
)
OUTCOMES = sql(
    "SELECT email_id, contact_id, reason, last_event, sent_us, state FROM messages "
    "WHERE email_id = ANY($1::text[]) ORDER BY email_id, id LIMIT $2"
)
EMAILS = sql(f"SELECT {EMAIL} FROM emails WHERE project_id = $1 {_PAGE}")
OF_CONTACT = sql(
    f"SELECT {MESSAGE} FROM messages WHERE contact_id = $1 AND created_us < $2 "
    "ORDER BY created_us DESC LIMIT $3"
)
ATTEMPTS = sql(
    f"SELECT {ATTEMPT} FROM message_attempts WHERE lane = $1 AND message_id = $2 "
    "ORDER BY number DESC LIMIT $3"
)
ENGAGED = sql(
    f"SELECT {ENGAGEMENT} FROM message_engagement WHERE lane = $1 AND message_id = $2 "
    "ORDER BY kind, link, verdict LIMIT $3"
)
_CLAIM = sql(f"SELECT {CLAIMED} FROM messages WHERE lane = $1 AND id = $2")
_SETTLE = sql(
    "UPDATE messages SET state = $3, reason = $4, due_us = $5, finished_us = $6, "
    "handed_us = NULL WHERE lane = $1 AND id = $2"
)
_CANCEL = sql(
    "UPDATE messages SET state = 'cancelled', reason = 'cancelled_by', due_us = NULL, "
    "finished_us = $3 WHERE lane = $1 AND id = $2"
)
# Its pushes to devices; a mail has none.
CANCEL_NOTIFICATIONS = sql(
    "UPDATE push_notifications SET state = 'cancelled', reason = 'cancelled_by', finished_us = $2 "
    "WHERE message_id = $1 AND state IN ('queued', 'sending', 'deferred')"
)
_AFTER_ALL = (BIGINT_MAX, "~")


class MessageDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One message with all that happened to it."""

    message: Message
    #: None once the e-mail is gone.
    content: EmailContent | None
    attempts: Sequence[AttemptRecord]
    engagement: Sequence[EngagementRecord]
    #: What each guardrail says now, up to the first that does not pass; of messages that wait.
    guardrails: Sequence[Verdict] = ()


class Outcome(msgspec.Struct, frozen=True):
    """Outcome of one message of an e-mail."""

    contact_id: str | None
    reason: str | None
    last_event: str | None
    sent_us: int | None
    state: MessageStatus


class MessageLists:
    """Messages of all projects, to be read and settled by people."""

    def __init__(self, database: Database, system_events: SystemEvents, keys: StoredKeys) -> None:
        self._database = database
        self._keys = keys
        self._system_events = system_events

    async def list(
        self,
        project_id: int,
        *,
        state: MessageStatus | None = None,
        before: tuple[int, str] | None = None,
        limit: int,
    ) -> Sequence[Message]:
        """Messages of a project, newest first, before `(created_us, id)`."""
        page = (project_id, *(_AFTER_ALL if before is None else before), limit)
        if state is None:
            rows = await self._database.read(lambda tx: tx.rows(LIST, *page))
        else:
            statement = LIST_NOT_ARRIVED if state in NOT_ARRIVED else LIST_IN_STATE
            rows = await self._database.read(lambda tx: tx.rows(statement, *page, state.value))
        return [message(row) for row in rows]

    async def emails(
        self, project_id: int, *, before: tuple[int, str] | None = None, limit: int
    ) -> Sequence[Email]:
        """E-mails of a project, newest first, before `(created_us, id)`."""
        page = (project_id, *(_AFTER_ALL if before is None else before), limit)
        rows = await self._database.read(lambda tx: tx.rows(EMAILS, *page))
        return [email(row) for row in rows]

    async def outcomes(self, email_ids: Sequence[str]) -> dict[str, Sequence[Outcome]]:
        """Outcomes of the messages of e-mails, by e-mail; of each at most `OUTCOMES_MAX`."""
        if not email_ids:
            return {}
        rows = await self._database.read(
            lambda tx: tx.rows(OUTCOMES, list(email_ids), OUTCOMES_MAX * len(email_ids))
        )
        found: dict[str, Sequence[Outcome]] = dict.fromkeys(email_ids, ())
        for email_id, contact_id, reason, last_event, sent_us, state in rows:
            one = Outcome(contact_id, reason, last_event, sent_us, MessageStatus(state))
            found[email_id] = (*found[email_id], one)
        return found

    async def of_contact(
        self, contact: Contact, *, before: int | None, limit: int
    ) -> Sequence[Message]:
        """Messages to a contact, and to those that were merged into it, newest first."""
        below = BIGINT_MAX if before is None else before

        async def read(tx: Transaction) -> list[Message]:
            found: list[Message] = []
            for contact_id in await ids_of(tx, contact.id):
                rows = await tx.rows(OF_CONTACT, contact_id, below, limit)
                found += [message(row) for row in rows]
            return sorted(found, key=lambda one: (one.created_us, one.id), reverse=True)[:limit]

        return await self._database.read(read, snapshot=True)

    async def detail(self, project_id: int, message_id: str, now_us: int) -> MessageDetail | None:
        """One message with all that happened to it; None when the project has no such message."""
        keys = await self._keys.get()

        async def read(tx: Transaction) -> MessageDetail | None:
            row = await tx.row(_CLAIM, *key_of(message_id))
            if row is None or row[1] != project_id:
                return None
            held = claimed(row)
            subject = held.message
            verdicts: Sequence[Verdict] = ()
            if subject.state in {MessageStatus.QUEUED, MessageStatus.DEFERRED}:
                policies = await read_sending_policies(tx, project_id)
                no_lock = msgspec.structs.replace(policies, frequency_caps=())
                contact = await find_contact(tx, subject, no_lock)
                start = Start(claimed=held, relay="", subject="")
                facts = await read_facts(tx, keys, start, contact, policies, now_us, lock=False)
                if not isinstance(facts, Reason):
                    facts = await with_warm_up(tx, facts, subject, now_us)
                    verdicts = trace(facts, policies, now_us)
            attempts = await tx.rows(ATTEMPTS, *key_of(message_id), SHOWN_MAX)
            engaged = await tx.rows(ENGAGED, *key_of(message_id), SHOWN_MAX)
            return MessageDetail(
                message=subject,
                content=await find_content(tx, subject),
                attempts=[attempt(each) for each in reversed(attempts)],
                engagement=[engagement(each) for each in engaged],
                guardrails=verdicts,
            )

        return await self._database.read(read, snapshot=True)

    async def settle(
        self, project_id: int, message_id: str, outcome: str, now_us: int, *, actor: str
    ) -> Message | None:
        """Settle a message with an unknown outcome; audited.

        Args:
            outcome: `sent`, `failed` or `retry`; the last may send the mail twice.

        Returns:
            The updated message; None when the project has none of that id. One that is not
            unknown stays as it is.
        """

        async def work(tx: Transaction) -> Message | None:
            held = await hold(tx, message_id)
            if held is None or held.claimed.message.project_id != project_id:
                return None
            subject = held.claimed.message
            if subject.state is not MessageStatus.UNKNOWN:
                return subject
            key = key_of(message_id)
            if outcome == "sent":
                outcomes = Outcomes(tx, now_us)
                await outcomes.settle_sent(subject)
                await outcomes.flush(self._system_events)
            elif outcome == "retry":
                await tx.run(_SETTLE, *key, MessageStatus.DEFERRED.value, "retry", now_us, None)
            else:
                failed = MessageStatus.FAILED
                await tx.run(_SETTLE, *key, failed.value, "settled", None, now_us)
                await wake_run(tx, subject, failed, now_us)
            detail = {"message": message_id, "outcome": outcome}
            await write_audit(tx, now_us, actor, project_id, "message.settle", detail)
            return await find_message(tx, message_id)

        return await self._database.write(work)

    async def cancel(self, project_id: int, message_id: str, now_us: int) -> Message | None:
        """Cancel a waiting message; one that is in progress or done stays as it is."""

        async def work(tx: Transaction) -> Message | None:
            held = await hold(tx, message_id)
            if held is None or held.claimed.message.project_id != project_id:
                return None
            if held.claimed.message.state in {MessageStatus.QUEUED, MessageStatus.DEFERRED}:
                await tx.run(_CANCEL, *key_of(message_id), now_us)
                await tx.run(CANCEL_NOTIFICATIONS, message_id, now_us)
                await wake_run(tx, held.claimed.message, MessageStatus.CANCELLED, now_us)
            return await find_message(tx, message_id)

        return await self._database.write(work)
