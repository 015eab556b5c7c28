"""Messages to one person: what an erasure removes, and what an export shows.

Messages belong to a person by the contact, or by an address that no other contact has.
Suppressions of an erased person stay as a keyed hash, so that they still apply.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.domain.events.identity import IdentityType
from headrace.domain.messages.addresses import Mailbox
from headrace.store.contract.messages import HitRecord, Message, MessageCopy, Suppressed
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Transaction
from headrace.store.messages.content.bodies import HTML, TEXT, read_parts
from headrace.store.messages.message_rows import (
    ATTEMPT,
    ENGAGEMENT,
    GET_EMAIL,
    MESSAGE,
    NOTIFICATION,
    attempt,
    content_text,
    email,
    engagement,
    find_content,
    key_of,
    message,
    notification,
)
from headrace.store.messages.removal import (
    REMOVE_CAPTURED,
    remove_emails,
    remove_messages,
)
from headrace.store.messages.suppressions import COLUMNS, suppressed
from headrace.store.privacy.person_messages import MessagePlace
from headrace.store.privacy.rows import Subject, added

#: Messages that are counted or exported at once.
PAGE_MAX = 200

OF_CONTACTS = sql(
    "SELECT id, email_id, address FROM messages "
    "WHERE contact_id = ANY($1::text[]) AND project_id = $2 LIMIT $3"
)
OF_ADDRESSES = sql(
    "SELECT id, email_id, address FROM messages WHERE project_id = $1 AND contact_id IS NULL "
    "AND address = ANY($2::text[]) LIMIT $3"
)
_PAGE = "AND (created_us, id) > ($3, $4) ORDER BY created_us, id LIMIT $5"
PAGE_OF_CONTACT = sql(
    f"SELECT {MESSAGE} FROM messages WHERE project_id = $1 AND contact_id = $2 {_PAGE}"
)
PAGE_OF_ADDRESS = sql(
    f"SELECT {MESSAGE} FROM messages WHERE project_id = $1 AND address = $2 "
    f"AND contact_id IS NULL {_PAGE}"
)
_NAMED = "unnest($1::smallint[], $2::text[]) AS k (lane, id)"
#: Place, as receipts name it -> how many rows of it belong to some messages.
COUNTS = {
    table: sql(f"SELECT count(*) FROM {_NAMED} JOIN {table} t ON {condition}")
    for table, condition in (
        ("message_attempts", "t.lane = k.lane AND t.message_id = k.id"),
        ("message_engagement", "t.lane = k.lane AND t.message_id = k.id"),
        ("message_hits", "t.message_id = k.id"),
        ("captured_mails", "t.message_id = k.id"),
        ("mail_notifications", "t.message_id = k.id"),
    )
}
# Of an e-mail with present or future messages to others, only the addresses are removed.
COUNT_EMAILS = sql(
    f"SELECT count(*) FROM {_NAMED} JOIN emails e ON e.lane = k.lane AND e.id = k.id "
    "WHERE NOT EXISTS (SELECT 1 FROM messages m WHERE m.email_id = e.id "
    "AND NOT coalesce(m.contact_id = ANY($3::text[]), m.address = ANY($4::text[]), false)) "
    "AND NOT EXISTS (SELECT 1 FROM send_jobs j WHERE j.id = e.id "
    "AND j.status IN ('scheduled', 'running'))"
)
SUPPRESSIONS = sql(
    f"SELECT {COLUMNS} FROM suppressions WHERE project_id = $1 AND email = ANY($2::text[])"
)
FORGET_ADDRESSES = sql(
    "UPDATE suppressions SET email = NULL, note = '', evidence = '' "
    "WHERE project_id = $1 AND email = ANY($2::text[])"
)
ATTEMPTS = sql(
    f"SELECT {ATTEMPT} FROM message_attempts WHERE lane = $1 AND message_id = $2 ORDER BY number"
)
ENGAGED = sql(
    f"SELECT {ENGAGEMENT} FROM message_engagement WHERE lane = $1 AND message_id = $2 "
    "ORDER BY kind, link, verdict"
)
_HIT = ", ".join(field.name for field in msgspec.structs.fields(HitRecord))
HITS = sql(f"SELECT {_HIT} FROM message_hits WHERE message_id = $1 ORDER BY at_us")
CAPTURED = sql("SELECT content FROM captured_mails WHERE message_id = $1")
NOTIFICATIONS = sql(
    f"SELECT {NOTIFICATION} FROM mail_notifications WHERE message_id = $1 ORDER BY number"
)
OTHERS = sql("SELECT id FROM messages WHERE email_id = $1 LIMIT $2")
_REWRITE = sql("UPDATE emails SET content = $3 WHERE lane = $1 AND id = $2")
#: Recipients of one e-mail.
_OTHERS_MAX = 200
#: Replaces the address of an erased person in an e-mail to several.
ERASED = Mailbox("erased@invalid.invalid")


class PersonMessages:
    """See `headrace.store.privacy.person_messages.PersonMessages`."""

    async def had_messages(
        self, tx: Transaction, project_id: int, contact_ids: Sequence[str]
    ) -> bool:
        return await tx.row(OF_CONTACTS, list(contact_ids), project_id, 1) is not None

    async def erase(self, tx: Transaction, subject: Subject, limit: int) -> dict[str, int] | None:
        ids = list(subject.contact_ids)
        rows = list(await tx.rows(OF_CONTACTS, ids, subject.project_id, limit))
        if len(rows) < limit and subject.emails:
            named = (subject.project_id, list(subject.emails), limit - len(rows))
            rows += await tx.rows(OF_ADDRESSES, *named)
        addresses = {*_emails(subject), *(row[2] for row in rows if row[2])}
        forgotten = await tx.run(FORGET_ADDRESSES, subject.project_id, sorted(addresses))
        if not rows:
            return {"suppressions": forgotten} if forgotten else None
        counts = await remove_messages(tx, rows)
        email_ids = {row[1] for row in rows if row[1]}
        removed = await remove_emails(tx, subject.project_id, email_ids)
        for email_id in sorted(email_ids - removed):
            await _forget_recipients(tx, email_id, addresses)
        return added(counts, {"emails": len(removed), "suppressions": forgotten})

    async def count(self, tx: Transaction, subject: Subject) -> dict[str, int]:
        counts: dict[str, int] = {}
        addresses, email_ids = set(_emails(subject)), set[str]()
        place: MessagePlace | None = MessagePlace()
        while place is not None:
            page, place = await self.page(tx, subject, place, PAGE_MAX)
            addresses |= {one.address for one in page if one.address is not None}
            email_ids |= {one.email_id for one in page if one.email_id is not None}
            keys = columns_of([key_of(one.id) for one in page], 2)
            found = {table: await tx.value(each, *keys) for table, each in COUNTS.items()}
            counts = added(counts, found | {"messages": len(page)})
        person = (list(subject.contact_ids), list(subject.emails))
        alone = await tx.value(
            COUNT_EMAILS, *columns_of([key_of(each) for each in sorted(email_ids)], 2), *person
        )
        listed = await tx.rows(SUPPRESSIONS, subject.project_id, sorted(addresses))
        return added(counts, {"emails": alone, "suppressions": len(listed)})

    async def page(
        self, tx: Transaction, subject: Subject, after: MessagePlace, limit: int
    ) -> tuple[Sequence[Message], MessagePlace | None]:
        people = [
            *((PAGE_OF_CONTACT, each) for each in subject.contact_ids),
            *((PAGE_OF_ADDRESS, each) for each in subject.emails),
        ]
        if after.whose >= len(people):
            return [], None
        statement, whose = people[after.whose]
        place = (subject.project_id, whose, after.created_us, after.message_id)
        found = [message(row) for row in await tx.rows(statement, *place, limit)]
        if len(found) < limit:
            return found, MessagePlace(after.whose + 1)
        return found, MessagePlace(after.whose, found[-1].created_us, found[-1].id)

    async def suppressions(self, tx: Transaction, subject: Subject) -> Sequence[Suppressed]:
        rows = await tx.rows(SUPPRESSIONS, subject.project_id, sorted(_emails(subject)))
        return [suppressed(row) for row in rows]

    async def copy(self, tx: Transaction, of: Message) -> MessageCopy:
        parts: dict[str, bytes] = {}
        if of.email_id is not None:
            parts = await read_parts(tx, of.project_id, of.email_id)
        key = key_of(of.id)
        return MessageCopy(
            message=of,
            content=await find_content(tx, of),
            text=parts[TEXT].decode() if TEXT in parts else None,
            html=parts[HTML].decode() if HTML in parts else None,
            files={part: content for part, content in parts.items() if part.isdigit()},
            attempts=[attempt(row) for row in await tx.rows(ATTEMPTS, *key)],
            engagement=[engagement(row) for row in await tx.rows(ENGAGED, *key)],
            hits=[HitRecord(*row) for row in await tx.rows(HITS, of.id)],
            captured=[bytes(row[0]) for row in await tx.rows(CAPTURED, of.id)],
            notifications=[notification(row) for row in await tx.rows(NOTIFICATIONS, of.id)],
        )


def _emails(subject: Subject) -> list[str]:
    """Addresses of the person; of an earlier one only what is about the address itself."""
    earlier = (value for kind, value in subject.learned if kind == IdentityType.EMAIL)
    return [*subject.emails, *earlier]


async def _forget_recipients(tx: Transaction, email_id: str, addresses: set[str]) -> None:
    """Remove addresses from an e-mail that has other recipients, too."""
    row = await tx.row(GET_EMAIL, *key_of(email_id))
    if row is None:
        return
    before = email(row).content
    after = msgspec.structs.replace(
        before,
        to=_without(before.to, addresses),
        cc=_without(before.cc, addresses),
        bcc=_without(before.bcc, addresses),
    )
    if after != before:
        await tx.run(_REWRITE, *key_of(email_id), content_text(after))
        others = await tx.rows(OTHERS, email_id, _OTHERS_MAX)
        await tx.run(REMOVE_CAPTURED, [each[0] for each in others])


def _without(mailboxes: Sequence[Mailbox], addresses: set[str]) -> tuple[Mailbox, ...]:
    return tuple(ERASED if one.address in addresses else one for one in mailboxes)
