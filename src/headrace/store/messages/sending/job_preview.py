"""What a send to audiences would do now: how many messages, and why others would not be sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from headrace.domain.contacts.topics import Topic
from headrace.domain.messages.guardrails import Decision, Facts, judge
from headrace.domain.messages.kinds import Channel, MessageKind
from headrace.domain.messages.sending_policies import SendingPolicies
from headrace.domain.messages.tokens import MessageKeys
from headrace.store.access.sending_policies import read_sending_policies
from headrace.store.contacts.groups.topic_rows import subscription
from headrace.store.contacts.groups.topics import find_topic
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Database, Row, Transaction
from headrace.store.messages.keys import StoredKeys
from headrace.store.messages.sending.jobs import INSIDE, MEMBERS
from headrace.store.messages.suppressions import suppressions_of

#: Contacts that one preview judges, and those that it reads at a time.
JUDGED_MAX = 20_000
SLICE = 500
#: Reason of a contact that is also in an excluded audience.
EXCLUDED = "excluded"

CONTACTS = sql(
    "SELECT c.lane, c.id, c.email, c.properties "
    "FROM unnest($1::smallint[], $2::text[]) AS k (lane, id) "
    "JOIN contacts c ON c.lane = k.lane AND c.id = k.id WHERE c.project_id = $3"
)
OPT_OUTS = sql(
    "SELECT o.contact_id, o.at_us FROM unnest($1::smallint[], $2::text[]) AS k (lane, id) "
    "JOIN topic_opt_outs o ON o.lane = k.lane AND o.contact_id = k.id"
)
CHOICES = sql(
    "SELECT s.contact_id, s.is_subscribed, s.changed_us "
    "FROM unnest($1::smallint[], $2::text[]) AS k (lane, id) "
    "JOIN topic_subscriptions s ON s.lane = k.lane AND s.contact_id = k.id "
    "WHERE s.topic_id = $3"
)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a send is for, and what decides who gets it."""

    audiences: Sequence[str]
    excluded: Sequence[str]
    topic_id: str | None
    #: Domain of the sender.
    domain: str


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What would happen now. Frequency caps, limits and pacing are checked only while sending."""

    #: Contacts that were judged.
    judged: int
    #: Whether there are more, which were not judged.
    more: bool
    #: Messages that would be sent at once.
    sent: int
    #: Reason -> contacts that would get no message.
    skipped: dict[str, int]
    #: Reason -> messages that would wait.
    deferred: dict[str, int]


class JobPreview:
    """Forecasts of sends to audiences, by the guardrails that judge their messages later."""

    def __init__(self, database: Database, keys: StoredKeys) -> None:
        self._database = database
        self._keys = keys

    async def forecast(self, project_id: int, target: Target, now_us: int) -> Forecast:
        """Judge up to `JUDGED_MAX` contacts of the audiences; changes nothing."""
        judging = _Judging(await self._keys.get(), project_id, target, now_us)
        while judging.goes_on and len(judging.seen) < JUDGED_MAX:
            await self._database.read(judging.next_slice, snapshot=True)
        return Forecast(
            judged=len(judging.seen),
            more=judging.goes_on,
            sent=judging.sent,
            skipped=dict(judging.skipped),
            deferred=dict(judging.deferred),
        )


class _Judging:
    """Counts verdicts, a slice of contacts at a time."""

    def __init__(self, keys: MessageKeys, project_id: int, target: Target, now_us: int) -> None:
        self._keys = keys
        self._project_id = project_id
        self._target = target
        self._now_us = now_us
        self._place, self._after = 0, -1
        #: A member of several audiences is judged once.
        self.seen: set[str] = set()
        self.sent = 0
        self.skipped: Counter[str] = Counter()
        self.deferred: Counter[str] = Counter()

    @property
    def goes_on(self) -> bool:
        """Whether there are members that were not read."""
        return self._place < len(self._target.audiences)

    async def next_slice(self, tx: Transaction) -> None:
        """Judge the next members of an audience."""
        audience = self._target.audiences[self._place]
        rows = await tx.rows(MEMBERS, audience, self._after, SLICE)
        if len(rows) < SLICE:
            self._place, self._after = self._place + 1, -1
        else:
            self._after = rows[-1][0]
        fresh = sorted((row[1], row[2]) for row in rows if row[2] not in self.seen)
        self.seen.update(contact_id for _, contact_id in fresh)
        keys = columns_of(fresh, 2)
        excluded = list(self._target.excluded)
        inside = set[str]()
        if excluded and fresh:
            inside = {row[0] for row in await tx.rows(INSIDE, *keys, excluded)}
        if inside:
            self.skipped[EXCLUDED] += len(inside)
        contacts = [
            row for row in await tx.rows(CONTACTS, *keys, self._project_id) if row[1] not in inside
        ]
        await self._judge(tx, contacts, keys)

    async def _judge(
        self, tx: Transaction, contacts: Sequence[Row], keys: Sequence[Sequence[object]]
    ) -> None:
        policies = await read_sending_policies(tx, self._project_id)
        topic = None
        if self._target.topic_id is not None:
            topic = await find_topic(tx, self._project_id, self._target.topic_id)
        opt_outs = {row[0]: row[1] for row in await tx.rows(OPT_OUTS, *keys)}
        choices: dict[str, tuple[bool, int]] = {}
        if topic is not None:
            choices = {row[0]: (row[1], row[2]) for row in await tx.rows(CHOICES, *keys, topic.id)}
        hashes = {
            row[1]: self._keys.address_hash(self._project_id, row[2])
            for row in contacts
            if row[2] is not None
        }
        listed = await suppressions_of(tx, self._project_id, list(hashes.values()))
        for _, contact_id, email, properties in contacts:
            facts = Facts(
                message_id=contact_id,
                channel=Channel.MAIL,
                kind=MessageKind.MARKETING,
                sending_domain=self._target.domain,
                has_address=email is not None,
                suppressions=listed.get(hashes.get(contact_id, b""), ()),
                unsubscribed_all=contact_id in opt_outs,
                topic_id=self._target.topic_id,
                is_subscribed=_is_subscribed(
                    contact_id, topic, choices.get(contact_id), opt_outs.get(contact_id)
                ),
                timezones=(msgspec.json.decode(properties).get("timezone"),),
            )
            self._count(facts, policies)

    def _count(self, facts: Facts, policies: SendingPolicies) -> None:
        verdict = judge(facts, policies, self._now_us)
        reason = "" if verdict.reason is None else verdict.reason.value
        if verdict.decision is Decision.SKIP:
            self.skipped[reason] += 1
        elif verdict.decision is Decision.DEFER:
            self.deferred[reason] += 1
        else:
            self.sent += 1


def _is_subscribed(
    contact_id: str,
    topic: Topic | None,
    choice: tuple[bool, int] | None,
    opted_out_us: int | None,
) -> bool:
    return topic is None or subscription(contact_id, topic, choice, opted_out_us).is_subscribed
