"""The facts that guardrails check, read in the transaction that starts an attempt."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from headrace.domain.contacts.contact import Contact
from headrace.domain.messages.guardrails import Facts, Reason, caps_to_count
from headrace.domain.messages.kinds import MessageKind
from headrace.domain.messages.send_times import choose_zone
from headrace.domain.messages.sending_policies import FrequencyCap, SendingPolicies
from headrace.domain.messages.tokens import MessageKeys
from headrace.store.contacts.contact_writes import by_id
from headrace.store.contacts.groups.subscriptions import OPTED_OUT, subscription_states
from headrace.store.contacts.groups.topics import find_topic
from headrace.store.contacts.identifiers import ids_of
from headrace.store.contacts.refs import ContactRef
from headrace.store.contract.messages import Message, Start
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Transaction
from headrace.store.messages.receivers import key_of_receiver, read_breaker
from headrace.store.messages.suppressions import suppressions_of

_HANDED = (
    "SELECT handed_us FROM messages WHERE contact_id = ANY($1::text[]) AND handed_us > $2 "
    "AND channel = $3 AND kind = ANY($4::text[]) AND id <> $5"
)
_NTH = "ORDER BY handed_us DESC LIMIT 1 OFFSET $6"
HANDED = sql(f"{_HANDED} {_NTH}")
HANDED_OF_TOPIC = sql(f"{_HANDED} AND topic_id = $7 {_NTH}")
SENT_TODAY = sql("SELECT sent FROM send_counts WHERE project_id = $1 AND channel = $2 AND day = $3")
_COUNT_SENT = sql(
    "INSERT INTO send_counts (project_id, channel, day, sent) VALUES ($1, $2, $3, $4) "
    "ON CONFLICT (project_id, channel, day) DO UPDATE SET sent = send_counts.sent + excluded.sent"
)
_AUTOMATION = sql(
    "SELECT status = 'paused' AND pause_mode = 'hold', overdue, overdue_before_us "
    "FROM automations WHERE id = $1"
)
_MICROSECONDS = 1_000_000


async def find_contact(
    tx: Transaction, message: Message, policies: SendingPolicies
) -> Contact | None:
    """The contact of a message, also of one that was merged since.

    Under a frequency cap, the contact is locked: of two messages to one contact, the second then
    counts the first.
    """
    if message.contact_id is None:
        return None
    capped = message.kind is MessageKind.MARKETING and bool(policies.frequency_caps)
    return await by_id(tx, message.project_id, message.contact_id, lock=capped)


async def read_facts(
    tx: Transaction,
    keys: MessageKeys,
    start: Start,
    contact: Contact | None,
    policies: SendingPolicies,
    now_us: int,
    *,
    lock: bool = True,
) -> Facts | Reason:
    """The facts about one message, or why it has to be skipped regardless of them.

    Args:
        lock: whether the count of the day is held until the transaction ends; not to read.
    """
    message = start.claimed.message
    facts = Facts(
        message_id=message.id,
        channel=message.channel,
        kind=message.kind,
        sending_domain=message.domain,
        has_contact=message.contact_id is not None,
        contact_deleted=message.contact_id is not None and contact is None,
        has_address=message.address is not None,
        topic_id=message.topic_id,
        timezones=() if contact is None else (contact.properties.get("timezone"),),
        receiver_free_us=start.receiver_free_us,
        relay_free_us=start.relay_free_us,
        first_deferred_us=start.claimed.deferred_us,
    )
    if message.automation_id is not None:
        facts = await _with_automation(tx, facts, message)
    receiver = key_of_receiver(message)
    breaker = None if receiver is None else await read_breaker(tx, receiver)
    if breaker is not None and breaker.opened_us is not None:
        facts = replace(
            facts,
            receiver_probe_us=breaker.until_us,
            receiver_response=breaker.rejection.text,
        )
    if message.address is not None:
        hashed = keys.address_hash(message.project_id, message.address)
        listed = await suppressions_of(tx, message.project_id, [hashed])
        facts = replace(facts, suppressions=listed.get(hashed, ()))
    if contact is not None and message.kind is MessageKind.MARKETING:
        consent = await _with_consent(tx, facts, contact)
        if consent is None:
            return Reason.GONE
        facts = await _with_caps(tx, consent, contact, policies, now_us)
    if message.channel in policies.send_limit_per_day:
        day = day_of(now_us, policies)
        if lock:
            # Locks the row, and creates it for the first message of the day.
            await count_sent(tx, message, policies, now_us, 0)
        sent = await tx.value(SENT_TODAY, message.project_id, message.channel.value, day)
        facts = replace(facts, sent_today=sent or 0)
    return facts


async def _with_automation(tx: Transaction, facts: Facts, message: Message) -> Facts:
    """Add whether the automation of a message lets it be sent."""
    row = await tx.row(_AUTOMATION, message.automation_id)
    if row is None:
        return facts
    held, overdue, before_us = row
    waited = message.reason == Reason.PAUSED_HOLD and facts.first_deferred_us is not None
    is_overdue = (
        waited and overdue == "skip_sends" and (facts.first_deferred_us or 0) < (before_us or 0)
    )
    return replace(facts, automation_held=bool(held), is_overdue=is_overdue)


async def _with_consent(tx: Transaction, facts: Facts, contact: Contact) -> Facts | None:
    """Add the contact's consent; None when the topic is gone."""
    ref = ContactRef(0, contact.id, contact.project_id, contact.lane)
    opted_out_us = await tx.value(OPTED_OUT, ref.home_lane, ref.id)
    facts = replace(facts, unsubscribed_all=opted_out_us is not None)
    if facts.topic_id is None:
        return facts
    topic = await find_topic(tx, contact.project_id, facts.topic_id)
    if topic is None:
        return None
    (state,) = await subscription_states(tx, ref, [topic])
    return replace(facts, is_subscribed=state.is_subscribed)


async def _with_caps(
    tx: Transaction, facts: Facts, contact: Contact, policies: SendingPolicies, now_us: int
) -> Facts:
    reached: list[int | None] = [None] * len(policies.frequency_caps)
    ids: list[str] = []
    for index, cap in caps_to_count(facts, policies):
        ids = ids or await ids_of(tx, contact.id)
        reached[index] = await _reached(tx, cap, ids, facts.message_id, now_us)
    return replace(facts, cap_reached_us=tuple(reached))


async def _reached(
    tx: Transaction, cap: FrequencyCap, ids: list[str], message_id: str, now_us: int
) -> int | None:
    """When the `max`-th newest message that counts was handed over."""
    since_us = now_us - cap.per_seconds * _MICROSECONDS
    kinds = sorted(kind.value for kind in cap.kinds)
    values = (ids, since_us, cap.channel.value, kinds, message_id, cap.max - 1)
    if cap.topic_id is None:
        found: int | None = await tx.value(HANDED, *values)
    else:
        found = await tx.value(HANDED_OF_TOPIC, *values, cap.topic_id)
    return found


def day_of(now_us: int, policies: SendingPolicies) -> str:
    """The day in the zone of the project."""
    zone = choose_zone((), policies.default_timezone)
    moment = datetime.fromtimestamp(now_us // _MICROSECONDS, UTC)
    return moment.astimezone(zone).date().isoformat()


async def count_sent(
    tx: Transaction, message: Message, policies: SendingPolicies, now_us: int, count: int = 1
) -> None:
    """Count a message that is handed over for the first time."""
    day = day_of(now_us, policies)
    await tx.run(_COUNT_SENT, message.project_id, message.channel.value, day, count)
