"""Python handlers as subscribers."""

from __future__ import annotations

import uuid
from typing import Any

from headrace.store.contract_delivery import LoadedHandler

#: Names of handlers become ids in this namespace, the same in every process and release.
_NAMESPACE = uuid.UUID("5f0a4c1e-6d0b-5c83-9a57-0d9b1f7a2c44")
#: Who announces them.
ACTOR = "worker"


def handler_id(name: str) -> str:
    """Id of the subscriber that a handler is."""
    return str(uuid.uuid5(_NAMESPACE, name))


def audit_detail(handler: LoadedHandler) -> dict[str, Any]:
    """What is audited of a change."""
    return {
        "subscriber": handler_id(handler.name),
        "handler": handler.name,
        "events": handler.events,
    }
