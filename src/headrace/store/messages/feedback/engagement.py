"""Hits on links and pixels: recorded at once, judged when the burst is over.

A hit also shows that the mail arrived. So it settles a message with an unknown outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.domain.ids import new_uuid, uuid_text
from headrace.domain.messages.engagement import (
    HITS_MAX,
    TAINT_US,
    USER_AGENT_CHARACTERS_MAX,
    Hit,
    Judgement,
    Network,
    judge_hit,
)
from headrace.domain.messages.kinds import (
    MAIL_CLICK,
    MAIL_OPEN,
    Engagement,
    MessageStatus,
    Verdict,
)
from headrace.domain.messages.places import lane_of_uuid
from headrace.store.access.sending_policies import read_sending_policies
from headrace.store.contract.messages import Message
from headrace.store.engine.dialect import sql
from headrace.store.engine.system_events import SystemEvents
from headrace.store.engine.transaction import Database, Row, Transaction
from headrace.store.messages.content.links import TARGET
from headrace.store.messages.mail_events import mail_event
from headrace.store.messages.message_rows import GET, hold, key_of, message
from headrace.store.messages.sending.outcomes import Outcomes

#: Single hits, and with them addresses, are kept so long.
HITS_KEPT_US = 86_400_000_000

_COLUMNS = "id, message_id, kind, link, at_us, address, user_agent, head, honeypot"
_INSERT = sql(
    f"INSERT INTO message_hits ({_COLUMNS}, due_us, lane) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
)
# Nothing is written for a removed message.
_THERE = sql("SELECT project_id FROM messages WHERE lane = $1 AND id = $2")
DUE = sql(f"SELECT {_COLUMNS} FROM message_hits WHERE due_us <= $1 ORDER BY due_us LIMIT $2")
_TAKE = sql(
    "UPDATE message_hits SET due_us = NULL WHERE lane = $1 AND id = $2 AND due_us IS NOT NULL"
)
OF_MESSAGE = sql(
    f"SELECT {_COLUMNS} FROM message_hits WHERE message_id = $1 AND at_us BETWEEN $2 AND $3 "
    "ORDER BY at_us DESC LIMIT $4"
)
OF_ADDRESS = sql(
    f"SELECT {_COLUMNS} FROM message_hits WHERE address = $1 AND at_us BETWEEN $2 AND $3 "
    "ORDER BY at_us DESC LIMIT $4"
)
_COUNT = sql(
    "INSERT INTO message_engagement (lane, message_id, kind, link, verdict, reason, count, "
    "first_us, last_us) VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $7) "
    "ON CONFLICT (lane, message_id, kind, link, verdict) DO UPDATE SET "
    "count = message_engagement.count + 1, "
    "last_us = greatest(message_engagement.last_us, excluded.last_us), "
    "first_us = least(message_engagement.first_us, excluded.first_us) RETURNING count"
)
_LAST_EVENT = sql("UPDATE messages SET last_event = $3 WHERE lane = $1 AND id = $2")
OLD = sql("SELECT lane, id FROM message_hits WHERE at_us < $1 AND due_us IS NULL LIMIT $2")
REMOVE = sql(
    "DELETE FROM message_hits WHERE (lane, id) IN "
    "(SELECT k.lane, k.id FROM unnest($1::smallint[], $2::text[]) AS k (lane, id))"
)
_NAMES = {Engagement.OPEN: MAIL_OPEN, Engagement.CLICK: MAIL_CLICK}


class NewHit(msgspec.Struct, frozen=True, kw_only=True):
    """One request to a tracked link or pixel, as it came."""

    message_id: str
    kind: Engagement
    #: Number of the link; 0 for the pixel.
    link: int
    address: str | None
    user_agent: str = ""
    head: bool = False
    honeypot: bool = False


class Engagements:
    """Hits of all projects.

    Args:
        scanners: networks of link scanners, as the operator lists them.
        prefetchers: networks of proxies that fetch before a person reads.
    """

    def __init__(
        self,
        database: Database,
        system_events: SystemEvents,
        *,
        scanners: tuple[Network, ...] = (),
        prefetchers: tuple[Network, ...] = (),
    ) -> None:
        self._database = database
        self._system_events = system_events
        self._networks: dict[str, Any] = {"scanners": scanners, "prefetchers": prefetchers}

    async def note(self, hits: Sequence[NewHit], now_us: int) -> None:
        """Write hits, to be judged later. Hits of removed messages are dropped."""

        async def work(tx: Transaction) -> None:
            for hit in hits:
                lane = lane_of_uuid(hit.message_id)
                project_id = await tx.value(_THERE, lane, hit.message_id)
                if project_id is None:
                    continue
                policies = await read_sending_policies(tx, project_id)
                due_us = now_us + policies.engagement_settle_seconds * 1_000_000
                await tx.run(
                    *(_INSERT, uuid_text(new_uuid()), hit.message_id, hit.kind.value, hit.link),
                    *(now_us, hit.address, hit.user_agent[:USER_AGENT_CHARACTERS_MAX]),
                    *(hit.head, hit.honeypot, due_us, lane),
                )

        await self._database.write(work)

    async def settle(self, now_us: int, limit: int) -> int:
        """Judge up to `limit` hits whose burst is over, with their events; returns how many."""
        rows = await self._database.read(lambda tx: tx.rows(DUE, now_us, limit))
        if not rows:
            return 0
        due = sorted(rows, key=lambda row: (row[1], row[0]))

        async def work(tx: Transaction) -> int:
            count = 0
            for row in due:
                # Another worker may have judged it meanwhile.
                if await tx.run(_TAKE, lane_of_uuid(row[1]), row[0]):
                    await self._judge(tx, _hit(row), now_us)
                    count += 1
            return count

        return await self._database.write(work)

    async def _judge(self, tx: Transaction, hit: Hit, now_us: int) -> None:
        held = await hold(tx, hit.message_id)
        if held is None:
            return
        subject = held.claimed.message
        if subject.state is MessageStatus.UNKNOWN:
            outcomes = Outcomes(tx, hit.at_us)
            await outcomes.settle_sent(subject)
            await outcomes.flush(self._system_events)
            row = await tx.row(GET, *key_of(subject.id))
            assert row is not None
            subject = message(row)
        others = await _near(tx, hit)
        judgement = judge_hit(hit, others, sent_us=subject.sent_us, **self._networks)
        reason = None if judgement.reason is None else judgement.reason.value
        key = (*key_of(hit.message_id), hit.kind.value, hit.link, judgement.verdict.value)
        count = await tx.value(_COUNT, *key, reason, hit.at_us)
        if count == 1:
            await self._emit(tx, subject, hit, judgement, now_us)

    async def _emit(
        self, tx: Transaction, subject: Message, hit: Hit, judgement: Judgement, now_us: int
    ) -> None:
        if judgement.verdict is Verdict.MACHINE:
            policies = await read_sending_policies(tx, subject.project_id)
            if not policies.machine_engagement_emit:
                return
        else:
            await tx.run(_LAST_EVENT, *key_of(subject.id), hit.kind.value)
        url = None if hit.kind is Engagement.OPEN else await tx.value(TARGET, hit.link)
        events = await mail_event(
            tx,
            subject,
            _NAMES[hit.kind],
            verdict=judgement.verdict.value,
            reason=None if judgement.reason is None else judgement.reason.value,
            url=url,
            link=hit.link if hit.kind is Engagement.CLICK else None,
        )
        await self._system_events.insert(tx, events, now_us)

    async def prune(self, now_us: int, limit: int) -> int:
        """Remove up to `limit` expired hits; returns how many."""
        before_us = now_us - HITS_KEPT_US
        rows = await self._database.read(lambda tx: tx.rows(OLD, before_us, limit))
        if not rows:
            return 0
        keys = sorted((row[0], row[1]) for row in rows)
        columns = [[key[place] for key in keys] for place in range(2)]
        return await self._database.write(lambda tx: tx.run(REMOVE, *columns))


async def _near(tx: Transaction, hit: Hit) -> list[Hit]:
    """Hits that are judged together with one, oldest first."""
    window = (hit.at_us - TAINT_US, hit.at_us + TAINT_US, HITS_MAX // 2)
    rows = list(await tx.rows(OF_MESSAGE, hit.message_id, *window))
    if hit.address is not None:
        rows += await tx.rows(OF_ADDRESS, hit.address, *window)
    found = {row[0]: _hit(row) for row in rows}
    return sorted(found.values(), key=lambda one: one.at_us)


def _hit(row: Row) -> Hit:
    _, message_id, kind, link, at_us, address, user_agent, head, honeypot = row
    return Hit(
        message_id=message_id,
        kind=Engagement(kind),
        link=link,
        at_us=at_us,
        address=address,
        user_agent=user_agent,
        head=bool(head),
        honeypot=bool(honeypot),
    )
