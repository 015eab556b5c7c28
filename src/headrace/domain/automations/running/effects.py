"""Effects of a decision, as data.

Each effect has an id made of run and step, and a run takes a step at most once: a runner that
performs effects in the transaction that stores the run, or keeps their ids, performs each exactly
once.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.domain.automations.definition.model import EmailConfig, PushConfig
from headrace.domain.automations.running.reasons import Note
from headrace.domain.automations.running.runs import Run
from headrace.domain.contacts.properties import PropertyValue


class SendMessage(msgspec.Struct, frozen=True, kw_only=True):
    """Queue a message; answered by `MessageFinished`. A retry asks again, with the same id."""

    id: str
    step_key: str
    config: EmailConfig | PushConfig
    #: Values at this moment; missing ones are left out. Numbers as `json_text.Number`.
    variables: dict[str, Any]


class CancelMessage(msgspec.Struct, frozen=True, kw_only=True):
    """Cancel the message of a step if it is still queued; one in progress continues."""

    id: str
    step_key: str


class UpdateContact(msgspec.Struct, frozen=True, kw_only=True):
    """Change the contact as the contact API would.

    An identifier that belongs to another contact is not changed, and the conflict is recorded, as
    for an event.
    """

    id: str
    step_key: str
    identifiers: dict[str, str | None]
    #: None removes the property.
    properties: dict[str, PropertyValue | None]


class ChangeMembership(msgspec.Struct, frozen=True, kw_only=True):
    """Add the contact to an audience, or remove it."""

    id: str
    step_key: str
    audience_id: str
    is_member: bool


class SetSubscription(msgspec.Struct, frozen=True, kw_only=True):
    """Subscribe the contact to a topic, or unsubscribe it."""

    id: str
    step_key: str
    topic_id: str
    is_subscribed: bool


class EmitEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Store an event about the contact, `caused_by` this run."""

    id: str
    step_key: str
    event_name: str
    #: JSON text.
    payload: str
    depth: int


Effect = (
    SendMessage | CancelMessage | UpdateContact | ChangeMembership | SetSubscription | EmitEvent
)


class LookBackRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Events to read before the transaction ends; answered by `LookedBack`.

    All of the contact's that are processed, of these names, with a greater sequence than `since`,
    in order of sequence.
    """

    names: frozenset[str]
    since: int


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one input, to be stored and performed in one transaction."""

    run: Run
    #: In the order in which they have to be performed.
    effects: tuple[Effect, ...] = ()
    notes: tuple[Note, ...] = ()
    look_back: LookBackRequest | None = None
    #: The contact has to be read again once the effects are performed; then comes `Continue`.
    again: bool = False
