"""Messages as the export of a person shows them: without other recipients."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from headrace.domain.messages.addresses import Mailbox
from headrace.domain.timestamps import to_text
from headrace.store.contract.messages import (
    AttemptRecord,
    EmailContent,
    MessageCopy,
    Suppressed,
)


def message_view(copy: MessageCopy) -> dict[str, Any]:
    """A message with its content, attempts and what came back."""
    message = copy.message
    return {
        "id": message.id,
        "email_id": message.email_id,
        "channel": message.channel.value,
        "kind": message.kind.value,
        "contact_id": message.contact_id,
        "to": message.recipient or message.address,
        "role": message.role,
        "topic_id": message.topic_id,
        "automation_id": message.automation_id,
        "run_id": message.run_id,
        "automation_step_key": message.step_key,
        "status": message.state.value,
        "reason": message.reason,
        "last_event": message.last_event,
        "created_at": to_text(message.created_us),
        "sent_at": _time(message.sent_us),
        "subject": message.subject,
        "content": None if copy.content is None else _content(copy.content, copy),
        "attempts": [_attempt(each) for each in copy.attempts],
        "engagement": [
            {
                "kind": each.kind,
                "link": each.link,
                "verdict": each.verdict,
                "reason": each.reason,
                "count": each.count,
                "first_at": to_text(each.first_us),
                "last_at": to_text(each.last_us),
            }
            for each in copy.engagement
        ],
        "hits": [
            {
                "kind": each.kind,
                "link": each.link,
                "at": to_text(each.at_us),
                "address": each.address,
                "user_agent": each.user_agent,
            }
            for each in copy.hits
        ],
        # The raw mail; bytes that are not UTF-8 are replaced.
        "captured": [each.decode(errors="replace") for each in copy.captured],
        "notifications": [
            {
                "id": each.id,
                "kind": each.kind.value,
                "source": each.source.value,
                "address": each.address,
                "status": each.status,
                "diagnostic": each.diagnostic,
                "effect": each.effect.value,
                "received_at": to_text(each.at_us),
                "raw": each.raw,
            }
            for each in copy.notifications
        ],
    }


def suppression_view(entry: Suppressed) -> dict[str, Any]:
    """An entry of the suppression list."""
    return {
        "id": entry.id,
        "email": entry.email,
        "reason": entry.reason.value,
        "scope": entry.scope.value,
        "note": entry.note,
        "evidence": entry.evidence,
        "created_by": entry.created_by,
        "since": to_text(entry.since_us),
    }


def _content(content: EmailContent, copy: MessageCopy) -> dict[str, Any]:
    return {
        "from": _mailbox(content.sender),
        "reply_to": [_mailbox(each) for each in content.reply_to],
        "subject": content.subject,
        "headers": dict(content.headers),
        "tags": content.tags,
        "template_version_id": content.template_version_id,
        "variables": content.variables,
        "payload": content.payload,
        "text": copy.text,
        "html": copy.html,
        "attachments": [
            {
                "name": each.name,
                "type": each.type,
                "bytes": each.bytes,
                "data": _base64(copy.files.get(str(number))),
            }
            for number, each in enumerate(content.files)
        ],
    }


def _attempt(of: AttemptRecord) -> dict[str, Any]:
    return {
        "number": of.number,
        "relay": of.relay,
        "started_at": to_text(of.started_us),
        "ended_at": _time(of.ended_us),
        "outcome": of.outcome,
        "phase": of.phase,
        "code": of.code,
        "status": of.status,
        "diagnostic": of.diagnostic,
    }


def _mailbox(of: Mailbox) -> dict[str, str | None]:
    return {"name": of.name or None, "email": of.address}


def _base64(content: bytes | None) -> str | None:
    return None if content is None else b64encode(content).decode()


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else to_text(at_us)
