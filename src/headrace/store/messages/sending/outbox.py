"""The queue of messages: finding due ones, claiming, starting, reclaiming.

A claim is fenced by its number: of two workers that both believe to hold a message only the last
one can begin an attempt, and the row of the attempt is committed before the relay is contacted.
After a worker dies, another one sends the messages it had claimed and not begun; those it had
begun are `unknown`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec

from headrace.domain.contacts.contact import Contact
from headrace.domain.events.identity import contact_lane
from headrace.domain.messages.guardrails import (
    Decision,
    Facts,
    Guardrail,
    Reason,
    Verdict,
    judge,
)
from headrace.domain.messages.kinds import MAIL_SKIP, Channel, MessageKind, MessageStatus
from headrace.domain.messages.receiver_breaker import PROBE_US
from headrace.domain.messages.sending_policies import SendingPolicies
from headrace.domain.messages.tokens import MessageKeys
from headrace.faults import armed, fail_point
from headrace.store.access.sending_policies import read_sending_policies, wants_event
from headrace.store.contract.messages import (
    Claimed,
    Ended,
    EndResult,
    Message,
    Start,
    StartResult,
)
from headrace.store.contract.processing import DEATHS_MAX, SystemEvent, wait_after_death_us
from headrace.store.engine.dialect import sql
from headrace.store.engine.plans import BY_KEYS
from headrace.store.engine.system_events import SystemEvents
from headrace.store.engine.transaction import Database, Transaction
from headrace.store.messages.keys import StoredKeys
from headrace.store.messages.mail_events import mail_event
from headrace.store.messages.message_rows import CLAIMED, claimed, hold, key_of
from headrace.store.messages.receivers import begin_probe, key_of_receiver
from headrace.store.messages.sending.facts import count_sent, find_contact, read_facts
from headrace.store.messages.sending.outcomes import ADD_ATTEMPT, Outcomes
from headrace.store.messages.waiting_runs import wake_run
from headrace.store.messages.warm_ups import WarmUpCounts, is_first

#: How long a claim lasts without being renewed.
LEASE_US = 60_000_000
#: A message that only the emergency stop holds is checked again after so long.
PAUSED_US = 30_000_000
#: Claims read by one scan for lost ones.
LEASED_MAX = 1000

_DUE = (
    "SELECT 1 FROM messages m WHERE m.project_id = p.id AND m.channel = $2 AND m.kind = '{}' "
    "AND m.due_us <= $1"
)
# One index look-up for each project and kind, however much of each waits.
DUE_PROJECTS = sql(
    "SELECT p.id FROM projects p "
    f"WHERE EXISTS ({_DUE.format('transactional')}) OR EXISTS ({_DUE.format('marketing')}) "
    "ORDER BY p.id"
)
CANDIDATES = sql(
    "SELECT lane, id, claims FROM messages WHERE project_id = $1 AND channel = $6 AND kind = $2 "
    "AND due_us <= $3 AND lane = ANY($5::smallint[]) ORDER BY due_us LIMIT $4",
    # One process works all lanes in SQLite.
    sqlite="SELECT lane, id, claims FROM messages WHERE project_id = ?1 AND channel = ?6 "
    "AND kind = ?2 AND due_us <= ?3 ORDER BY due_us LIMIT ?4",
)
# Compare-and-set: of two workers with the same candidates, the second finds other numbers.
CLAIM = sql(
    "UPDATE messages SET state = 'sending', owner = $4, lease_until_us = $5, "
    "claims = claims + 1, due_us = NULL WHERE (lane, id, claims) IN "
    "(SELECT k.lane, k.id, k.claims FROM unnest($1::smallint[], $2::text[], $3::integer[]) "
    "AS k (lane, id, claims)) AND due_us <= $6 "
    f"RETURNING {CLAIMED}"
)
RENEW = sql(
    "UPDATE messages SET lease_until_us = $5 WHERE (lane, id, claims) IN "
    "(SELECT k.lane, k.id, k.claims FROM unnest($1::smallint[], $2::text[], $3::integer[]) "
    "AS k (lane, id, claims)) AND owner = $4 AND state = 'sending' RETURNING id"
)
LEASED = sql(
    "SELECT id, claims, owner, lease_until_us FROM messages WHERE lease_until_us > 0 "
    "AND channel = $2 ORDER BY lease_until_us LIMIT $1"
)
_STARTED = sql(
    "UPDATE messages SET attempt = $3, handed_us = $4, subject = $5, "
    "mail_key = coalesce(mail_key, $6), reason = NULL, rule = NULL "
    "WHERE lane = $1 AND id = $2"
)
_LEAVE = "owner = NULL, lease_until_us = 0"
_ENDED = sql(
    "UPDATE messages SET state = $3, reason = $4, rule = $5, finished_us = $6, "
    f"due_us = NULL, {_LEAVE} WHERE lane = $1 AND id = $2"
)
_DEFER = sql(
    "UPDATE messages SET state = $3, reason = $4, rule = $5, due_us = $6, "
    f"deferred_us = coalesce(deferred_us, $7), {_LEAVE} WHERE lane = $1 AND id = $2"
)
_GIVE_BACK = sql(
    f"UPDATE messages SET state = $3, due_us = $4, crashes = $5, {_LEAVE} "
    "WHERE lane = $1 AND id = $2"
)
_BEGUN = sql(
    "SELECT number FROM message_attempts WHERE lane = $1 AND message_id = $2 AND number = $3 "
    "AND claim = $4 AND outcome IS NULL"
)


class _Lost(msgspec.Struct, frozen=True):
    """A claim that its owner will not finish."""

    id: str
    claim: int
    lease_until_us: int


class Outbox:
    """The queue of mail of all projects; `headrace.store.push.outbox` has that of push.

    Args:
        clock_us: the store's clock.
        lanes: lanes that this process may claim in; on PostgreSQL those of its worker.
        is_alive: whether the process that an owner names still runs; claims of a dead one are taken
            back at once instead of at the end of its lease.
    """

    channel = Channel.MAIL
    skip_event = MAIL_SKIP

    def __init__(
        self,
        database: Database,
        system_events: SystemEvents,
        keys: StoredKeys,
        clock_us: Callable[[], int],
        *,
        lanes: Callable[[], Sequence[int]],
        is_alive: Callable[[str], bool],
    ) -> None:
        self._database = database
        self._keys = keys
        self._clock_us = clock_us
        self._lanes = lanes
        self._is_alive = is_alive
        self._system_events = system_events
        self._turn = 0

    async def claim(self, owner: str, limit: int) -> Sequence[Claimed]:
        """Claim due messages: projects take turns, transactional ones go first in each."""
        now_us, lanes = self._clock_us(), list(self._lanes())
        if not lanes or limit < 1:
            return []
        # Usually there is nothing: then the write lock of SQLite is not taken.
        keys = await self._database.read(lambda tx: self._due(tx, now_us, lanes, limit))
        if not keys:
            return []
        columns = [[key[place] for key in sorted(keys)] for place in range(3)]

        async def work(tx: Transaction) -> list[Claimed]:
            await tx.run(BY_KEYS)
            rows = await tx.rows(CLAIM, *columns, owner, now_us + LEASE_US, now_us)
            return [claimed(row) for row in rows]

        found = await self._database.write(work)
        fail_point("message_claimed")
        return sorted(found, key=lambda one: one.first_due_us)

    async def _due(
        self, tx: Transaction, now_us: int, lanes: Sequence[int], limit: int
    ) -> list[tuple[int, str, int]]:
        projects = [row[0] for row in await tx.rows(DUE_PROJECTS, now_us, self.channel)]
        self._turn += 1
        first = self._turn % max(len(projects), 1)
        turns = (projects[first:] + projects[:first])[:limit]
        keys: list[tuple[int, str, int]] = []
        for index, project_id in enumerate(turns):
            policies = await read_sending_policies(tx, project_id)
            if self.channel in policies.sending_paused.channels:
                continue
            share = max(1, (limit - len(keys)) // (len(turns) - index))
            for kind in (MessageKind.TRANSACTIONAL, MessageKind.MARKETING):
                if share > 0:
                    values = (project_id, kind.value, now_us, share, lanes, self.channel)
                    rows = await tx.rows(CANDIDATES, *values)
                    keys += [(row[0], row[1], row[2]) for row in rows]
                    share -= len(rows)
        return keys

    async def start(self, owner: str, starts: Sequence[Start]) -> dict[str, StartResult]:
        """Begin attempts: guardrails, and the row of each attempt, in one transaction.

        What a guardrail skips or defers is written as well. Only a message whose result has an
        `attempt` may be sent, once, with that number.

        Returns:
            By the id of the message.
        """
        keys = await self._keys.get()
        now_us = self._clock_us()
        ordered = sorted(starts, key=_lock_order)

        async def work(tx: Transaction) -> dict[str, StartResult]:
            await tx.run(BY_KEYS)
            warm_ups = WarmUpCounts(tx)
            await warm_ups.hold((one.claimed.message for one in ordered), now_us)
            results: dict[str, StartResult] = {}
            known: dict[int, SendingPolicies] = {}
            events: list[SystemEvent] = []
            for start in ordered:
                message = start.claimed.message
                held = await hold(tx, message.id)
                if held is None or not held.is_of(owner, start.claimed.claim):
                    results[message.id] = StartResult(lost=True)
                    continue
                if message.project_id not in known:
                    known[message.project_id] = await read_sending_policies(tx, message.project_id)
                policies = known[message.project_id]
                contact = await find_contact(tx, message, policies)
                current = msgspec.structs.replace(start, claimed=held.claimed)
                facts = await self._facts(tx, keys, current, contact, policies, now_us)
                if isinstance(facts, Reason):
                    verdict = Verdict(
                        guardrail=Guardrail.SUBSCRIPTION, decision=Decision.SKIP, reason=facts
                    )
                else:
                    facts = warm_ups.added_to(facts, held.claimed.message)
                    verdict = judge(facts, policies, now_us)
                    if verdict.decision is Decision.PASS:
                        verdict = await _probed(tx, message, facts, policies, now_us) or verdict
                if verdict.decision is Decision.PASS:
                    if is_first(held.claimed.message):
                        await count_sent(tx, message, policies, now_us)
                        warm_ups.count(message)
                    results[message.id] = await self._begin(tx, current, now_us)
                else:
                    rejected = await self._reject(tx, held.claimed, verdict, now_us)
                    results[message.id] = rejected
                    if rejected.state is MessageStatus.SKIPPED:
                        events += await self._skipped(tx, message, rejected)
            await warm_ups.flush()
            await self._system_events.insert(tx, events, now_us)
            return results

        results = await self._database.write(work)
        fail_point("message_started")
        return results

    async def end(
        self, owner: str, claim: Claimed, state: MessageStatus, reason: str, rule: str = ""
    ) -> bool:
        """End a message that cannot be sent, such as one that cannot be composed."""
        now_us = self._clock_us()

        async def work(tx: Transaction) -> bool:
            held = await hold(tx, claim.message.id)
            if held is None or not held.is_of(owner, claim.claim):
                return False
            await self._not_sendable(tx, held.claimed, state, reason, now_us)
            state_now = self._ended_as(held.claimed, state)
            key = key_of(claim.message.id)
            finished_us = now_us if state_now.final else None
            await tx.run(_ENDED, *key, state_now.value, reason, rule, finished_us)
            await wake_run(tx, claim.message, state_now, now_us)
            return True

        return await self._database.write(work)

    async def record(self, owner: str, ended: Sequence[Ended]) -> dict[str, EndResult]:
        """Write how attempts ended, with all effects, in one transaction.

        An attempt whose claim was lost still settles its message if that became `unknown` and was
        not retried.

        Returns:
            By the id of the message.
        """
        keys = await self._keys.get()
        now_us = self._clock_us()
        ordered = sorted(ended, key=lambda one: one.claimed.message.id)

        async def work(tx: Transaction) -> dict[str, EndResult]:
            await tx.run(BY_KEYS)
            outcomes = self._outcomes(tx, now_us)
            results = {
                one.claimed.message.id: await outcomes.record(keys, owner, one) for one in ordered
            }
            await outcomes.flush(self._system_events)
            return results

        results = await self._database.write(work)
        fail_point("message_recorded")
        return results

    async def renew(self, owner: str, claims: Sequence[Claimed]) -> frozenset[str]:
        """Renew claims; returns the ids of those that the owner still holds."""
        now_us = self._clock_us()
        named = sorted((*key_of(one.message.id), one.claim) for one in claims)
        columns = [[row[place] for row in named] for place in range(3)]

        async def work(tx: Transaction) -> frozenset[str]:
            await tx.run(BY_KEYS)
            rows = await tx.rows(RENEW, *columns, owner, now_us + LEASE_US)
            return frozenset(row[0] for row in rows)

        return await self._database.write(work)

    async def release(self, owner: str, claims: Sequence[Claimed]) -> int:
        """Release messages not begun; begun ones become `unknown`. Returns how many."""

        async def work(tx: Transaction) -> int:
            count = 0
            for one in sorted(claims, key=lambda each: each.message.id):
                held = await hold(tx, one.message.id)
                if held is not None and held.is_of(owner, one.claim):
                    await self._take_back(tx, held.claimed, self._clock_us(), died=False)
                    count += 1
            return count

        return await self._database.write(work)

    async def rescue(self, limit: int) -> int:
        """Reclaim messages of dead workers, up to `limit`; returns how many."""
        now_us = self._clock_us()
        rows = await self._database.read(lambda tx: tx.rows(LEASED, LEASED_MAX, self.channel))
        lost = [
            _Lost(message_id, claim, until_us)
            for message_id, claim, owner, until_us in rows
            if until_us <= now_us or not self._is_alive(owner)
        ][:limit]
        if not lost:
            return 0

        async def work(tx: Transaction) -> int:
            count = 0
            for one in sorted(lost, key=lambda each: each.id):
                held = await hold(tx, one.id)
                if (
                    held is not None
                    and held.claimed.claim == one.claim
                    and held.lease_until_us == one.lease_until_us
                ):
                    await self._take_back(tx, held.claimed, now_us, died=True)
                    count += 1
            return count

        return await self._database.write(work)

    async def _take_back(self, tx: Transaction, held: Claimed, now_us: int, *, died: bool) -> None:
        message = held.message
        key = key_of(message.id)
        number = await tx.value(_BEGUN, *key, message.attempt, held.claim)
        if number is not None and not armed("message_sent_again"):
            # An unknown outcome has no event.
            await self._outcomes(tx, now_us).unknown(held, number)
            return
        deaths = held.crashes + died
        if deaths >= DEATHS_MAX:
            state = self._ended_as(held, MessageStatus.FAILED)
            finished_us = now_us if state.final else None
            rule = f"{deaths} workers died while they held it"
            await self._not_sendable(tx, held, MessageStatus.FAILED, "poison", now_us)
            await tx.run(_ENDED, *key, state.value, "poison", rule, finished_us)
            await wake_run(tx, message, state, now_us)
            return
        state = MessageStatus.QUEUED if message.attempt == 0 else MessageStatus.DEFERRED
        due_us = now_us + wait_after_death_us(deaths) if died else now_us
        await tx.run(_GIVE_BACK, *key, state.value, due_us, deaths)

    # --- what differs by channel ---------------------------------------------------------------

    def _outcomes(self, tx: Transaction, now_us: int) -> Outcomes:
        return Outcomes(tx, now_us)

    async def _facts(
        self,
        tx: Transaction,
        keys: MessageKeys,
        start: Start,
        contact: Contact | None,
        policies: SendingPolicies,
        now_us: int,
    ) -> Facts | Reason:
        return await read_facts(tx, keys, start, contact, policies, now_us)

    async def _begin(self, tx: Transaction, start: Start, now_us: int) -> StartResult:
        held = start.claimed
        key = key_of(held.message.id)
        number = held.message.attempt + 1
        await tx.run(ADD_ATTEMPT, *key, number, held.claim, start.relay, now_us)
        await tx.run(_STARTED, *key, number, now_us, start.subject, start.mail_key)
        return StartResult(attempt=number)

    async def _reject(
        self, tx: Transaction, held: Claimed, verdict: Verdict, now_us: int
    ) -> StartResult:
        key = key_of(held.message.id)
        reason = None if verdict.reason is None else verdict.reason.value
        if verdict.decision is Decision.DEFER:
            state = self._ended_as(held, MessageStatus.DEFERRED)
            due_us = now_us + PAUSED_US if verdict.until_us is None else verdict.until_us
            await tx.run(_DEFER, *key, state.value, reason, verdict.rule, due_us, now_us)
        else:
            state = self._ended_as(held, MessageStatus.SKIPPED)
            finished_us = now_us if state.final else None
            await tx.run(_ENDED, *key, state.value, reason, verdict.rule, finished_us)
            await wake_run(tx, held.message, state, now_us)
        return StartResult(state=state, reason=reason)

    async def _skipped(
        self, tx: Transaction, message: Message, rejected: StartResult
    ) -> list[SystemEvent]:
        if not await wants_event(tx, message.project_id, self.skip_event):
            return []
        return await mail_event(tx, message, self.skip_event, reason=rejected.reason)

    async def _not_sendable(
        self, tx: Transaction, held: Claimed, state: MessageStatus, reason: str, now_us: int
    ) -> None:
        """Follow the end of a message that cannot be sent."""

    def _ended_as(self, held: Claimed, state: MessageStatus) -> MessageStatus:
        """The state, or `unknown` when an earlier attempt may have reached the relay."""
        return MessageStatus.UNKNOWN if held.unknowns else state


async def _probed(
    tx: Transaction, message: Message, facts: Facts, policies: SendingPolicies, now_us: int
) -> Verdict | None:
    """Make a message the probe of a receiver that rejects the sender; else why it waits.

    Returns:
        None: it may be sent.
    """
    receiver = key_of_receiver(message)
    if facts.receiver_probe_us is None or receiver is None:
        return None
    until_us = now_us + PROBE_US
    if await begin_probe(tx, receiver, message.id, until_us, now_us):
        return None
    # Another worker's message probes.
    return judge(replace(facts, receiver_probe_us=until_us), policies, now_us)


def _lock_order(start: Start) -> tuple[int, str, str]:
    """Always lock contacts in this order, to avoid deadlocks."""
    message = start.claimed.message
    if message.contact_id is None:
        return -1, "", message.id
    return contact_lane(message.project_id, message.contact_id), message.contact_id, message.id
