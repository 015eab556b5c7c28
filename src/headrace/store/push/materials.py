"""What pushes are made of, read for the messages of one claim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.domain.access.sealing import KeyRing, Purpose
from headrace.domain.contacts.contact import Contact
from headrace.domain.messages.guardrails import Reason
from headrace.domain.messages.kinds import MessageStatus
from headrace.domain.push.content import LocalText, PushContent
from headrace.store.access.sealing import SecretKeyError, opened
from headrace.store.contacts.contact_writes import by_id
from headrace.store.contract.messages import Claimed, Message
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Database, Transaction
from headrace.store.messages.content.templates import find_version
from headrace.store.messages.message_rows import CONTENT
from headrace.store.messages.message_rows import key_of as message_key
from headrace.store.push.apps import GET as APP
from headrace.store.push.apps import push_app
from headrace.store.push.notification_rows import (
    STATES,
    Destination,
    PushMessage,
    StepContent,
    destinations,
    key_of,
    read_push,
)
from headrace.store.push.sends import SendCounts

CONTENT_OF_SEND = sql("SELECT content, counts FROM push_sends WHERE lane = $1 AND id = $2")
_OPEN = frozenset({"queued", "sending", "deferred"})


class StepMaterial(msgspec.Struct, frozen=True, kw_only=True):
    """What the push of a step is rendered from."""

    step: StepContent
    #: In each language, that of the default one first.
    texts: tuple[LocalText, ...]
    data: dict[str, Any]
    contact: Contact | None


class PushMaterial(msgspec.Struct, frozen=True, kw_only=True):
    """What one message is made of."""

    push: PushMessage
    content: PushContent | StepMaterial
    #: Private key of the app, PEM; None: this process cannot open it.
    vapid_key: str | None
    #: Devices that have not got it.
    destinations: tuple[Destination, ...]


class Unsendable(msgspec.Struct, frozen=True):
    """How a message ends that has nothing to send."""

    state: MessageStatus
    reason: str


_GONE = Unsendable(MessageStatus.SKIPPED, Reason.GONE.value)
_STOPPED = Unsendable(MessageStatus.CANCELLED, "cancelled_by")


class PushMaterials:
    """Reads what pushes are made of, without taking the writer."""

    def __init__(self, database: Database, keys: KeyRing) -> None:
        self._database = database
        self._keys = keys

    async def read(self, claims: Sequence[Claimed]) -> dict[str, PushMaterial | Unsendable]:
        """By the id of the message."""

        async def work(tx: Transaction) -> dict[str, PushMaterial | Unsendable]:
            reader = _Reader(tx, self._keys)
            return {one.message.id: await reader.material(one) for one in claims}

        return await self._database.read(work, snapshot=True)


class _Reader:
    """Reads each request and app once."""

    def __init__(self, tx: Transaction, keys: KeyRing) -> None:
        self._tx = tx
        self._keys = keys
        self._contents: dict[str, PushContent | Unsendable] = {}
        self._app_keys: dict[tuple[int, str], tuple[bool, str | None]] = {}

    async def material(self, claimed: Claimed) -> PushMaterial | Unsendable:
        message = claimed.message
        text = await self._tx.value(CONTENT, *message_key(message.id))
        if text is None:
            return _GONE
        push = read_push(text)
        found, vapid_key = await self._key_of(message.project_id, push.app_id)
        content = await self._content(message, push)
        if isinstance(content, Unsendable):
            return content
        if not found:
            return _GONE
        states = {row[0]: row[1] for row in await self._tx.rows(STATES, message.id)}
        wanted = await destinations(self._tx, message, push)
        return PushMaterial(
            push=push,
            content=content,
            vapid_key=vapid_key,
            destinations=tuple(
                one for one in wanted if states.get(one.notification_id, "queued") in _OPEN
            ),
        )

    async def _content(
        self, message: Message, push: PushMessage
    ) -> PushContent | StepMaterial | Unsendable:
        if push.step is None:
            return _GONE if push.send_id is None else await self._content_of(push.send_id)
        version = await find_version(self._tx, message.project_id, push.step.template_version_id)
        if version is None or not version.content.texts:
            return _GONE
        contact = None
        if message.contact_id is not None:
            contact = await by_id(self._tx, message.project_id, message.contact_id)
        content = version.content
        return StepMaterial(step=push.step, texts=content.texts, data=content.data, contact=contact)

    async def _content_of(self, send_id: str) -> PushContent | Unsendable:
        if send_id not in self._contents:
            row = await self._tx.row(CONTENT_OF_SEND, *key_of(send_id))
            if row is None:
                self._contents[send_id] = _GONE
            elif msgspec.json.decode(row[1], type=SendCounts).stopped:
                self._contents[send_id] = _STOPPED
            else:
                self._contents[send_id] = msgspec.json.decode(row[0], type=PushContent)
        return self._contents[send_id]

    async def _key_of(self, project_id: int, app_id: str) -> tuple[bool, str | None]:
        place = (project_id, app_id)
        if place not in self._app_keys:
            row = await self._tx.row(APP, project_id, app_id)
            key = None
            if row is not None:
                try:
                    key = opened(self._keys, push_app(row).vapid_private_key, Purpose.VAPID)
                except SecretKeyError:
                    key = None
            self._app_keys[place] = (row is not None, key)
        return self._app_keys[place]
