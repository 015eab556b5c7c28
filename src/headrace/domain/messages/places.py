"""Ids of e-mails, and the lanes of their rows and of messages."""

from __future__ import annotations

import uuid

from headrace.domain.ids import new_uuid, uuid_text

#: UUIDv5 needs a namespace; this random one is for e-mails of Headrace.
_NAMESPACE = uuid.UUID("0c2f7f5e-95ad-4d52-a6b9-6a2a5f1f8d11")


def email_id(project_id: int, idempotency_key: str | None) -> str:
    """Id of an e-mail: the same for the same key of a project, random without one."""
    if idempotency_key is None:
        return uuid_text(new_uuid())
    return str(uuid.uuid5(_NAMESPACE, f"{project_id}:{idempotency_key}"))


def lane_of_uuid(text: str) -> int:
    """Lane (0-255) of a row that is identified only by a UUID: its last byte."""
    return int(text[-2:], 16)
