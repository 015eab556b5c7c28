"""What alerts are decided from: one read transaction with a limit on every part."""

from __future__ import annotations

import msgspec

from headrace.domain.messages.kinds import Channel
from headrace.domain.timestamps import to_text
from headrace.domain.upkeep.alerts import RULES, AlertKind, Level, Reading
from headrace.store.access.sending_policies import read_sending_policies
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Transaction

#: Projects that are read, and subjects of one kind in a project.
PROJECTS_MAX = 1000
SUBJECTS_MAX = 100
SUBSCRIBERS_MAX = 500
#: Mail of a domain below which a rate says nothing.
MAILS_MIN = 100
COMPLAINTS_MIN = 3
#: Newest ended deliveries of a subscriber, and how many of them must all have failed.
DELIVERIES = 20
FAILURES_MIN = 5
#: Leadership that the worker keeps while it runs.
WORKER_PRESENT = "worker_present"
_MINUTE_US = 60_000_000
_HOUR_US = 3_600_000_000
_DAY_US = 86_400_000_000
_COUNTED_MAX = 1000

_PROJECTS = sql(f"SELECT id FROM projects ORDER BY id LIMIT {PROJECTS_MAX}")
_RATES = sql(
    "SELECT domain, sum(sent), sum(bounced), sum(complained) FROM mail_figures "
    f"WHERE project_id = $1 AND day >= $2 GROUP BY domain ORDER BY domain LIMIT {SUBJECTS_MAX}"
)
_REJECTING = sql(
    "SELECT domain, receiver, code, status, diagnostic FROM receiver_breakers "
    "WHERE project_id = $1 AND opened_us IS NOT NULL ORDER BY domain, receiver "
    f"LIMIT {SUBJECTS_MAX}"
)
OLDEST_MAIL = sql(
    "SELECT min(due_us) FROM messages WHERE project_id = $1 AND kind = $2 AND due_us IS NOT NULL"
)
UNKNOWN = sql(
    "SELECT count(*) FROM (SELECT due_us FROM messages WHERE project_id = $1 "
    "AND state = 'unknown' AND state IN ('skipped', 'bounced', 'failed', 'blocked', 'expired', "
    "'unknown', 'cancelled', 'complained') AND created_us < $2 "
    f"ORDER BY created_us DESC, id DESC LIMIT {_COUNTED_MAX}) AS n WHERE due_us IS NULL"
)
NEW_DEAD_LETTERS = sql(
    "SELECT count(*) FROM (SELECT 1 FROM dead_letters WHERE project_id = $1 "
    f"AND dead_lettered_us > $2 AND state = 0 LIMIT {_COUNTED_MAX}) AS n"
)
_SUBSCRIBERS = sql(
    "SELECT id, project_id, kind, target, enabled, disabled_reason, breaker, paused_us "
    f"FROM subscribers ORDER BY id LIMIT {SUBSCRIBERS_MAX}"
)
ENDED_DELIVERIES = sql(
    "SELECT state FROM deliveries WHERE subscriber_id = $1 AND state IN (2, 3, 4) "
    f"ORDER BY number DESC LIMIT {DELIVERIES}"
)
_RELAYS = sql(
    "SELECT relay, outcome, failures, last_us, diagnostic FROM relay_failures ORDER BY relay "
    f"LIMIT {SUBJECTS_MAX}"
)
_WORKER = sql("SELECT lease_until_us FROM leader_leases WHERE name = $1")
#: Reasons of subscribers that nobody needs to be told about: a person disabled them, or the
#: worker without the handler is reported itself.
_KNOWN_REASONS = ("switched off",)


class _Breaker(msgspec.Struct, frozen=True):
    state: str = "closed"


async def read_alert_readings(tx: Transaction, now_us: int) -> list[Reading]:
    """Readings of all kinds but those of the disk and the queue of events."""
    found = [*await _relays(tx, now_us), *await _worker(tx, now_us)]
    for (project_id,) in await tx.rows(_PROJECTS):
        found += await _mail(tx, project_id, now_us)
        count = await tx.value(NEW_DEAD_LETTERS, project_id, now_us - 15 * _MINUTE_US)
        detail = f"{count} new dead letters in 15 minutes"
        found.append(_reading(project_id, AlertKind.DEAD_LETTERS_GROWING, "", count, detail))
    found += await _subscribers(tx)
    return found


def _reading(project_id: int, kind: AlertKind, subject: str, value: float, detail: str) -> Reading:
    level = RULES[kind].level(value)
    return Reading(project_id=project_id, kind=kind, subject=subject, level=level, detail=detail)


async def _mail(tx: Transaction, project_id: int, now_us: int) -> list[Reading]:
    found: list[Reading] = []
    yesterday = to_text(now_us - _DAY_US)[:10]
    for domain, sent, bounced, complained in await tx.rows(_RATES, project_id, yesterday):
        found += _rates(project_id, domain, int(sent), int(bounced), int(complained))
    for domain, receiver, *reply in await tx.rows(_REJECTING, project_id):
        said = " ".join(str(part) for part in reply if part)
        detail = f"{receiver} rejects {domain}: {said}"
        subject = f"{domain} {receiver}"
        found.append(_reading(project_id, AlertKind.SENDER_REJECTED, subject, 1, detail))
    found.append(await _mail_queue(tx, project_id, now_us))
    unknown = await tx.value(UNKNOWN, project_id, now_us - _HOUR_US)
    detail = f"{unknown} messages wait for a person or a report"
    found.append(_reading(project_id, AlertKind.UNKNOWN_OUTCOMES, "", unknown, detail))
    return found


def _rates(project_id: int, domain: str, sent: int, bounced: int, complained: int) -> list[Reading]:
    """With little mail a rate is noise: it then neither starts nor ends an alert."""
    total = sent + bounced
    bounce_rate, complaint_rate = bounced / max(total, 1), complained / max(sent, 1)
    rates = [
        _reading(
            project_id,
            AlertKind.BOUNCE_RATE,
            domain,
            bounce_rate,
            f"{domain}: {bounced} of {total} mails of two days bounced ({100 * bounce_rate:.1f} %)",
        ),
        _reading(
            project_id,
            AlertKind.COMPLAINT_RATE,
            domain,
            complaint_rate,
            f"{domain}: {complained} complaints about {sent} mails of two days "
            f"({100 * complaint_rate:.2f} %)",
        ),
    ]
    enough = (total >= MAILS_MIN, sent >= MAILS_MIN and complained >= COMPLAINTS_MIN)
    return [
        one
        if is_enough or one.level is not Level.BAD
        else msgspec.structs.replace(one, level=Level.BETWEEN)
        for one, is_enough in zip(rates, enough, strict=True)
    ]


async def _mail_queue(tx: Transaction, project_id: int, now_us: int) -> Reading:
    policies = await read_sending_policies(tx, project_id)
    oldest: list[int] = []
    if Channel.MAIL not in policies.sending_paused.channels:
        for kind in ("transactional", "marketing"):
            due_us = await tx.value(OLDEST_MAIL, project_id, kind)
            if due_us is not None:
                oldest.append(due_us)
    age_s = max(0, now_us - min(oldest, default=now_us)) // 1_000_000
    detail = f"mail is {age_s // 60} minutes late"
    return _reading(project_id, AlertKind.MAIL_QUEUE_AGE, "", age_s, detail)


async def _subscribers(tx: Transaction) -> list[Reading]:
    found: list[Reading] = []
    for own_id, project_id, kind, target, *state in await tx.rows(_SUBSCRIBERS):
        enabled, reason, breaker, paused_us = state
        name = f"{kind} {target.partition('?')[0][:200]}"
        if not enabled:
            bad = bool(reason) and reason not in _KNOWN_REASONS
            detail = f"{name} is disabled: {reason}"
            found.append(_reading(project_id, AlertKind.SUBSCRIBER_DISABLED, own_id, bad, detail))
            continue
        if paused_us is not None:
            # Nothing is delivered until its owner resumes it, so nothing fails.
            continue
        states = [row[0] for row in await tx.rows(ENDED_DELIVERIES, own_id)]
        always = len(states) >= FAILURES_MIN and 3 not in states
        detail = (
            f"the last {len(states)} deliveries to {name} failed"
            if always
            else f"{name} does not respond; deliveries are paused"
        )
        failing = always or _is_open(breaker)
        found.append(_reading(project_id, AlertKind.SUBSCRIBER_FAILING, own_id, failing, detail))
    return found


def _is_open(breaker: str | None) -> bool:
    if breaker is None:
        return False
    try:
        return msgspec.json.decode(breaker, type=_Breaker).state != "closed"
    except msgspec.MsgspecError:
        return False


async def _relays(tx: Transaction, now_us: int) -> list[Reading]:
    found: list[Reading] = []
    for relay, outcome, failures, last_us, diagnostic in await tx.rows(_RELAYS):
        # One that is not tried any more says nothing, such as one that was replaced.
        tried = last_us > now_us - 30 * _MINUTE_US
        bad = tried and (outcome == "relay_auth" or failures >= FAILURES_MIN)
        what = "rejects user or password" if outcome == "relay_auth" else "cannot be used"
        detail = f"{relay} {what}: {diagnostic or outcome}"
        found.append(_reading(0, AlertKind.RELAY_FAILING, relay, bad, detail))
    return found


async def _worker(tx: Transaction, now_us: int) -> list[Reading]:
    until_us = await tx.value(_WORKER, WORKER_PRESENT)
    if until_us is None:
        # No worker was ever started here.
        return []
    detail = "no worker has reported since its lease ended"
    return [_reading(0, AlertKind.WORKER_GONE, "", until_us < now_us, detail)]
