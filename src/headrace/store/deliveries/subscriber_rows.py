"""Rows of subscribers: reading them, and what every change of one entails.

Each change takes the lock first, so two changes never run at the same time; rows of deliveries are
locked before it, never after.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from headrace.delivery.contract import HandlerTarget, WebhookTarget
from headrace.domain.deliveries import own_headers
from headrace.domain.deliveries.attempt_requests import (
    WebhookVersion,
    earlier_with,
    versions_of,
)
from headrace.domain.deliveries.body_format import BodyFormat
from headrace.domain.deliveries.own_headers import Headers
from headrace.domain.deliveries.pace import Pace
from headrace.store.access.audit import write_audit
from headrace.store.contract.deliveries import (
    SWITCHED_OFF,
    AttemptRecord,
    BreakerChange,
    NewWebhook,
    Subscriber,
    SubscriberKind,
    WebhookChange,
)
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Transaction

COLUMNS = (
    "id, project_id, kind, target, events, description, enabled, disabled_reason, secret, "
    "previous_secret, previous_until_us, breaker, paused_us, resume_per_second, header_names, "
    "header_values, format, version, earlier, created_us, updated_us"
)
#: Of a claim.
TARGET_COLUMNS = (
    "kind, target, secret, previous_secret, previous_until_us, header_names, header_values, "
    "format, version"
)
_NAMES = tuple(name.strip() for name in COLUMNS.split(","))
_GET = sql(
    f"SELECT {COLUMNS} FROM subscribers WHERE id = $1 AND project_id = $2 AND kind = 'webhook'"
)
_LOCK = sql(
    "INSERT INTO meta (name, value) VALUES ('subscribers_version', '0') "
    "ON CONFLICT (name) DO UPDATE SET value = meta.value"
)
# Incremented by every change of a subscriber, so that workers notice outdated rules.
_BUMP = sql("UPDATE meta SET value = (value::bigint + 1)::text WHERE name = 'subscribers_version'")
_DISABLE = sql(
    "UPDATE subscribers SET enabled = false, disabled_reason = $1, disabled_us = $2, "
    "updated_us = $2 WHERE id = $3 AND enabled AND updated_us <= $4 RETURNING project_id"
)
SET_BREAKERS = sql("""
UPDATE subscribers SET breaker = c.after
FROM unnest($1::text[], $2::text[], $3::text[]) AS c (id, before, after)
WHERE subscribers.id = c.id AND subscribers.breaker IS NOT DISTINCT FROM c.before
RETURNING subscribers.id
""")
SET_PACES = sql("""
UPDATE subscribers SET resume_from_us = c.after
FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS c (id, before, after)
WHERE subscribers.id = c.id AND subscribers.resume_from_us = c.before
RETURNING subscribers.id
""")
_BREAKERS = sql("SELECT id, breaker FROM subscribers WHERE id = ANY($1::text[])")


class HeaderColumns(NamedTuple):
    """Own headers as they are stored."""

    names: str | None
    values: str | None


class Unseen(NamedTuple):
    """What a change needs to know besides the webhook."""

    #: As they were before.
    disabled_us: int | None
    resume_from_us: int | None
    #: As they are from then on.
    headers: HeaderColumns


class WebhookValues(msgspec.Struct, frozen=True):
    """What a change writes, in the order of the statement."""

    target: str
    events: str
    description: str
    enabled: bool
    disabled_reason: str | None
    disabled_us: int | None
    forget_breaker: bool
    paused_us: int | None
    resume_per_second: int | None
    resume_from_us: int | None
    header_names: str | None
    header_values: str | None
    format: str
    version: int
    earlier: str | None


def subscriber(row: Iterable[Any], now_us: int) -> Subscriber:
    """A subscriber from its columns."""
    values: dict[str, Any] = dict(zip(_NAMES, row, strict=True))
    secret, previous = values.pop("secret"), values.pop("previous_secret")
    secrets = valid_secrets(secret, previous, values["previous_until_us"], now_us)
    names = own_headers.decode(values["header_names"])
    body_format = BodyFormat(values["format"])
    versions = versions_of(
        values.pop("version"), values["target"], names, body_format, values.pop("earlier")
    )
    return Subscriber(
        **values
        | {
            "kind": SubscriberKind(values["kind"]),
            "events": tuple(msgspec.json.decode(values["events"])),
            "enabled": bool(values["enabled"]),
            "header_names": names,
            "format": body_format,
            "versions": versions,
            "secrets": secrets,
            "previous_until_us": values["previous_until_us"] if len(secrets) > 1 else None,
        }
    )


def valid_secrets(
    secret: str | None, previous: str | None, previous_until_us: int | None, now_us: int
) -> tuple[str, ...]:
    """Secrets that sign now, the newest first."""
    secrets = (secret,) if secret is not None else ()
    if previous is not None and now_us < (previous_until_us or 0):
        return (*secrets, previous)
    return secrets


def pace_of(per_second: int | None, from_us: int | None) -> Pace | None:
    """The pace of a webhook; None: deliveries need not wait."""
    if per_second is None or from_us is None:
        return None
    return Pace(per_second=per_second, from_us=from_us)


def due_within(pace: Pace | None, due: int, now_us: int) -> int:
    """How many of those due may begin now."""
    return due if pace is None else min(due, pace.allowed(now_us))


def target_of(row: Sequence[Any], now_us: int) -> WebhookTarget | HandlerTarget:
    """Where to deliver, from `TARGET_COLUMNS`."""
    kind, target, secret, previous, previous_until_us, *own = row
    if kind == SubscriberKind.HANDLER:
        return HandlerTarget(name=target)
    secrets = valid_secrets(secret, previous, previous_until_us, now_us)
    names, header_values, body_format, version = own
    return WebhookTarget(
        url=target,
        secrets=secrets,
        header_names=own_headers.decode(names),
        header_values=header_values,
        format=BodyFormat(body_format),
        version=version,
    )


def new_values(
    webhook: NewWebhook, headers: HeaderColumns, now_us: int, created_us: int
) -> tuple[Any, ...]:
    """Values of a new webhook.

    Columns: id, project_id, target, events, description, enabled, disabled_reason, disabled_us,
    secret, created_us, updated_us, paused_us, header_names, header_values, format.
    """
    off = not webhook.enabled
    disabled = (SWITCHED_OFF, now_us) if off else (None, None)
    fixed = (webhook.id, webhook.project_id, webhook.url, patterns_text(webhook.events))
    return (
        *(*fixed, webhook.description, webhook.enabled, *disabled),
        *(webhook.secret, created_us, now_us, now_us if webhook.paused else None),
        *headers,
        webhook.format.value,
    )


def changes_of(
    before: Subscriber, change: WebhookChange, headers: Headers | None
) -> dict[str, dict[str, Any]]:
    """Field -> from and to, of the fields that change; of headers only the names.

    Args:
        headers: those from then on; None: as before.
    """
    held = {
        "url": before.target,
        "events": before.events,
        "description": before.description,
        "enabled": before.enabled,
        "paused": before.paused_us is not None,
        "per_second": before.resume_per_second,
        "format": before.format,
    }
    wanted = {name: getattr(change, name) for name in held}
    changes = {
        name: {"from": value, "to": wanted[name]}
        for name, value in held.items()
        if wanted[name] is not None and wanted[name] != value
    }
    if headers is not None:
        changes["headers"] = {"from": before.header_names, "to": [name for name, _ in headers]}
    return changes


def audit_entries(
    subscriber_id: str, changes: dict[str, dict[str, Any]], change: WebhookChange
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Action and detail of each entry of the audit log for a change: a pause has its own."""
    changes = dict(changes)
    paused = changes.pop("paused", None)
    if paused is not None:
        changes.pop("per_second", None)
        detail: dict[str, Any] = {"subscriber": subscriber_id}
        if change.per_second is not None:
            detail["per_second"] = change.per_second
        yield ("webhook.pause" if paused["to"] else "webhook.resume"), detail
    if changes or paused is None:
        yield "webhook.update", {"subscriber": subscriber_id, "changes": changes}


def changed_values(
    before: Subscriber,
    change: WebhookChange,
    unseen: Unseen,
    now_us: int,
) -> WebhookValues:
    """A webhook as it is after a change."""
    disabled_us = unseen.disabled_us
    enabled = before.enabled if change.enabled is None else change.enabled
    target = before.target if change.url is None else change.url
    body_format = before.format if change.format is None else change.format
    names = own_headers.decode(unseen.headers.names)
    switched_off = before.enabled and not enabled
    reason = SWITCHED_OFF if switched_off else before.disabled_reason
    return WebhookValues(
        target=target,
        events=patterns_text(before.events if change.events is None else change.events),
        description=before.description if change.description is None else change.description,
        enabled=enabled,
        disabled_reason=None if enabled else reason,
        disabled_us=None if enabled else (now_us if switched_off else disabled_us),
        # The breaker of one URL says nothing about another.
        forget_breaker=bool(change.enabled) or change.url is not None,
        **_pause_values(before, change, unseen.resume_from_us, now_us),
        header_names=unseen.headers.names,
        header_values=unseen.headers.values,
        format=body_format.value,
        **_version_values(before, WebhookVersion(0, target, names, body_format)),
    )


def _version_values(before: Subscriber, after: WebhookVersion) -> dict[str, Any]:
    *earlier, current = before.versions
    if msgspec.structs.replace(after, number=current.number) != current:
        return {"version": current.number + 1, "earlier": earlier_with(current, earlier)}
    text = msgspec.json.encode(earlier).decode() if earlier else None
    return {"version": current.number, "earlier": text}


def _pause_values(
    before: Subscriber, change: WebhookChange, from_us: int | None, now_us: int
) -> dict[str, Any]:
    """The columns of a pause, and of the rate after it, as they are after a change."""
    paused_us, per_second = before.paused_us, before.resume_per_second
    if change.paused is True:
        paused_us = now_us if paused_us is None else paused_us
        per_second = from_us = None
    elif change.paused is False and (paused_us is not None or change.per_second is not None):
        paused_us, per_second = None, change.per_second
        from_us = None if per_second is None else now_us
    return {
        "paused_us": paused_us,
        "resume_per_second": per_second,
        "resume_from_us": from_us,
    }


def patterns_text(events: Sequence[str]) -> str:
    """Names and prefixes as they are stored."""
    return msgspec.json.encode(events).decode()


async def find_webhook(
    tx: Transaction, project_id: int, subscriber_id: str, now_us: int
) -> Subscriber | None:
    """A webhook of a project."""
    row = await tx.row(_GET, subscriber_id, project_id)
    return None if row is None else subscriber(row, now_us)


async def lock_changes(tx: Transaction) -> None:
    """Take the lock that serializes changes of subscribers."""
    await tx.run(_LOCK)


async def note_change(
    tx: Transaction, at_us: int, actor: str, project_id: int, action: str, detail: dict[str, Any]
) -> None:
    """Audit a change and let the workers notice it; the lock is held."""
    await write_audit(tx, at_us, actor, project_id, action, detail)
    await tx.run(_BUMP)


async def disable(
    tx: Transaction,
    subscriber_id: str,
    reason: str,
    now_us: int,
    *,
    unchanged_since_us: int,
    actor: str,
) -> bool:
    """Disable a subscriber, unless it was changed after `unchanged_since_us`; the lock is held."""
    project_id = await tx.value(_DISABLE, reason, now_us, subscriber_id, unchanged_since_us)
    if project_id is None:
        return False
    detail = {"subscriber": subscriber_id, "reason": reason}
    await note_change(tx, now_us, actor, project_id, "subscriber.disable", detail)
    return True


async def disable_gone(tx: Transaction, records: Sequence[AttemptRecord], now_us: int) -> None:
    """Disable subscribers whose endpoint is gone, unless changed since the attempt began."""
    gone = [r for r in records if r.failure is not None and r.failure.disable_reason is not None]
    if not gone:
        return
    await lock_changes(tx)
    for record in gone:
        assert record.failure is not None
        await disable(
            tx,
            record.claimed.subscriber_id,
            str(record.failure.disable_reason),
            now_us,
            unchanged_since_us=record.began_us,
            actor="worker",
        )


async def set_breakers(tx: Transaction, changes: Sequence[BreakerChange]) -> frozenset[str]:
    """Change breakers; returns subscribers whose breaker has changed since, or that are deleted."""
    real = sorted(
        ((c.subscriber_id, c.before, c.after) for c in changes if c.before != c.after),
        key=lambda change: change[0],
    )
    if not real:
        return frozenset()
    rows = await tx.rows(SET_BREAKERS, *columns_of(real, 3))
    return frozenset(change[0] for change in real) - {row[0] for row in rows}


async def set_paces(tx: Transaction, changes: Sequence[tuple[str, int, int]]) -> frozenset[str]:
    """Use up what paces allow; returns subscribers whose pace has changed since.

    Args:
        changes: id of the subscriber, and `resume_from_us` before and after.
    """
    if not changes:
        return frozenset()
    rows = await tx.rows(SET_PACES, *columns_of(sorted(changes), 3))
    return frozenset(change[0] for change in changes) - {row[0] for row in rows}


async def breakers_of(tx: Transaction, ids: Collection[str]) -> dict[str, str | None]:
    """The breaker of each subscriber that still exists."""
    if not ids:
        return {}
    return {row[0]: row[1] for row in await tx.rows(_BREAKERS, sorted(ids))}
