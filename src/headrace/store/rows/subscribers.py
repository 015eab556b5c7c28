"""Subscribers from their columns, and what a change of one comes to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from headrace.delivery.contract import HandlerTarget, WebhookTarget
from headrace.store.contract_delivery import (
    SWITCHED_OFF,
    NewWebhook,
    Subscriber,
    SubscriberKind,
    WebhookChange,
)

COLUMNS = (
    "id, project_id, kind, target, events, description, enabled, disabled_reason, secret, "
    "previous_secret, previous_until_us, breaker, created_us, updated_us"
)
_NAMES = tuple(name.strip() for name in COLUMNS.split(","))


class WebhookValues(msgspec.Struct, frozen=True):
    """What a change writes, in the order of the statement."""

    target: str
    events: str
    description: str
    enabled: bool
    disabled_reason: str | None
    disabled_us: int | None
    forget_breaker: bool


def subscriber(row: Iterable[Any], now_us: int) -> Subscriber:
    """A subscriber from its columns."""
    values: dict[str, Any] = dict(zip(_NAMES, row, strict=True))
    secret, previous = values.pop("secret"), values.pop("previous_secret")
    secrets = valid_secrets(secret, previous, values["previous_until_us"], now_us)
    return Subscriber(
        **values
        | {
            "kind": SubscriberKind(values["kind"]),
            "events": tuple(msgspec.json.decode(values["events"])),
            "enabled": bool(values["enabled"]),
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


def target_of(row: Sequence[Any], now_us: int) -> WebhookTarget | HandlerTarget:
    """Whom to deliver to. Columns: kind, target, secret, previous_secret, previous_until_us."""
    kind, target, secret, previous, previous_until_us = row
    if kind == SubscriberKind.HANDLER:
        return HandlerTarget(name=target)
    secrets = valid_secrets(secret, previous, previous_until_us, now_us)
    return WebhookTarget(url=target, secrets=secrets)


def new_values(webhook: NewWebhook, now_us: int, created_us: int) -> tuple[Any, ...]:
    """Values of a new webhook.

    Columns: id, project_id, target, events, description, enabled, disabled_reason, disabled_us,
    secret, created_us, updated_us.
    """
    off = not webhook.enabled
    disabled = (SWITCHED_OFF, now_us) if off else (None, None)
    told = (webhook.id, webhook.project_id, webhook.url, patterns_text(webhook.events))
    return (
        *(*told, webhook.description, webhook.enabled, *disabled),
        *(webhook.secret, created_us, now_us),
    )


def changes_of(before: Subscriber, change: WebhookChange) -> dict[str, dict[str, Any]]:
    """Field -> from and to, of the fields that really change."""
    held = {
        "url": before.target,
        "events": before.events,
        "description": before.description,
        "enabled": before.enabled,
    }
    wanted = {name: getattr(change, name) for name in held}
    return {
        name: {"from": value, "to": wanted[name]}
        for name, value in held.items()
        if wanted[name] is not None and wanted[name] != value
    }


def changed_values(
    before: Subscriber, change: WebhookChange, disabled_us: int | None, now_us: int
) -> WebhookValues:
    """A webhook as it is after a change; `disabled_us` as it was before."""
    enabled = before.enabled if change.enabled is None else change.enabled
    switched_off = before.enabled and not enabled
    reason = SWITCHED_OFF if switched_off else before.disabled_reason
    return WebhookValues(
        target=before.target if change.url is None else change.url,
        events=patterns_text(before.events if change.events is None else change.events),
        description=before.description if change.description is None else change.description,
        enabled=enabled,
        disabled_reason=None if enabled else reason,
        disabled_us=None if enabled else (now_us if switched_off else disabled_us),
        # What was learned about one URL says nothing about another.
        forget_breaker=bool(change.enabled) or change.url is not None,
    )


def patterns_text(events: Sequence[str]) -> str:
    """Names and prefixes as they are stored."""
    return msgspec.json.encode(events).decode()
