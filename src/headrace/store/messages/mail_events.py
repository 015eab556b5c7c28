"""System events of messages, in the transaction of what they report."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.store.contacts.refs import find_ref
from headrace.store.contract.messages import Message
from headrace.store.contract.processing import SystemEvent
from headrace.store.engine.transaction import Transaction


async def mail_event(
    tx: Transaction, message: Message, name: str, **payload: Any
) -> list[SystemEvent]:
    """The event about a message; empty without a known contact."""
    if message.contact_id is None:
        return []
    contact = await find_ref(tx, message.project_id, message.contact_id)
    if contact is None:
        return []
    members = {
        "message_id": message.id,
        "channel": message.channel.value,
        "contact_id": contact.id,
        "automation_id": message.automation_id,
        "run_id": message.run_id,
        "step_key": message.step_key,
        "template_version_id": message.template_version_id,
        **payload,
    }
    return [contact.event(name, msgspec.json.encode(members).decode())]
