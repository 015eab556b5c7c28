"""Messages, suppressions and templates as commands show them: in the API's form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from headrace.cli.shared.failure import usage
from headrace.domain.ids import UUID_TEXT
from headrace.domain.timestamps import to_text

if TYPE_CHECKING:
    from headrace.pipeline.messages.message_trace import MessageTrace
    from headrace.store.contract.messages import Message, Notification, Suppressed, Template

LIMIT_MAX = 1000


def id_of(text: str, what: str) -> str:
    """Canonical text of an id.

    Raises:
        CommandFailed: it is no id.
    """
    if UUID_TEXT.fullmatch(text) is None:
        raise usage(f"{text!r} is no id of a {what}.")
    return text.lower()


def time_of(at_us: int | None) -> str | None:
    """Text of a time, or None."""
    return None if at_us is None else to_text(at_us)


def message_view(of: Message) -> dict[str, Any]:
    """A message as in lists of the API."""
    return {
        "id": of.id,
        "created_at": to_text(of.created_us),
        "status": of.state.value,
        "kind": of.kind.value,
        "to": of.address,
        "subject": of.subject,
        "reason": of.reason,
        "rule": of.rule or None,
        "contact_id": of.contact_id,
        "email_id": of.email_id,
        "domain": of.domain,
        "attempts": of.attempt,
        "due_at": time_of(of.due_us),
        "sent_at": time_of(of.sent_us),
        "last_event": of.last_event,
    }


def trace_view(of: MessageTrace) -> dict[str, Any]:
    """A message with its whole history."""
    return {
        "message": message_view(of.detail.message),
        "explanation": of.explanation,
        "composing": of.composing.value,
        "checked_when": None if of.checked_when is None else of.checked_when.value,
        "checked_at": time_of(of.checked_us),
        "guardrails": [
            {
                "guardrail": one.guardrail.value,
                "decision": one.decision.value,
                "reason": None if one.reason is None else one.reason.value,
                "rule": one.rule or None,
                "until": time_of(one.until_us),
            }
            for one in of.guardrails
        ],
        "attempts": [
            {
                "number": one.number,
                "relay": one.relay,
                "started_at": to_text(one.started_us),
                "ended_at": time_of(one.ended_us),
                "outcome": one.outcome,
                "code": one.code,
                "enhanced_code": one.status,
                "diagnostic": one.diagnostic,
            }
            for one in of.detail.attempts
        ],
        "engagement": [
            {
                **{name: getattr(one, name) for name in ("kind", "link", "verdict", "reason")},
                "count": one.count,
                "first_at": to_text(one.first_us),
                "last_at": to_text(one.last_us),
            }
            for one in of.detail.engagement
        ],
    }


def suppression_view(of: Suppressed) -> dict[str, Any]:
    """An entry of the suppression list."""
    return {
        "id": of.id,
        "email": of.email,
        "scope": of.scope.value,
        "reason": of.reason.value,
        "note": of.note,
        "evidence": of.evidence,
        "created_by": of.created_by,
        "created_at": to_text(of.since_us),
    }


def notification_view(of: Notification) -> dict[str, Any]:
    """A notification as in the API."""
    return {
        "id": of.id,
        "received_at": to_text(of.at_us),
        "reported_at": time_of(of.reported_us),
        "intake": of.intake.value,
        "source": of.source.value,
        "event": of.event,
        "kind": of.kind.value,
        "message_id": of.message_id,
        "address": of.address,
        "reason": of.reason,
        "status": of.status,
        "diagnostic": of.diagnostic,
        "reporter": of.reporter,
        "provider_id": of.provider_id,
        "effect": of.effect.value,
        "raw": of.raw,
    }


def template_view(of: Template) -> dict[str, Any]:
    """A template without its draft."""
    return {
        "id": of.id,
        "name": of.name,
        "channel": of.channel,
        "status": of.status.value,
        "versions": of.versions,
        "has_changes": of.changed,
        "created_at": to_text(of.created_us),
        "updated_at": to_text(of.updated_us),
    }


def cell(value: Any) -> str:
    """A value as text in a table."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None or not str(value) else str(value)


def json_members(**members: Any) -> bytes:
    """Build a request body, to be checked by the rules of requests."""
    return msgspec.json.encode({name: value for name, value in members.items() if value != ""})
