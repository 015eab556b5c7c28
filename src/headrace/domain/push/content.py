"""What a push says, and the payload that clients read.

A payload is JSON with one key, `sendrealm_v1`. Its `metadata.notification_id` is the same at each
attempt: a client shows a repeat in place of the first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from headrace.domain.messages.kinds import MessageKind
from headrace.domain.push.kinds import Environment, Platform

KEY = "sendrealm_v1"
#: What fits a Web Push of 4,096 encrypted bytes.
PAYLOAD_BYTES_MAX = 3993
TEXTS_MAX = 50
BUTTONS_MAX = 3
#: How long services keep a push for a device that is away, unless the request says otherwise.
TTL_S_DEFAULT = 259_200
TTL_S_MAX = 2_419_200

T = TypeVar("T")


class Button(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A button of a notification; browsers show at most two."""

    id: str
    text: str
    launch_url: str | None = None


class LocalText(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A text in one language."""

    #: Language, such as `de` or `de-AT`.
    code: str
    #: Name for people; never sent.
    label: str = ""
    title: str
    body: str
    #: None: those of the notification.
    launch_url: str | None = None
    image_url: str | None = None
    #: Empty: those of the notification.
    buttons: tuple[Button, ...] = ()


class PushContent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The content of a push, as stored once for all its devices."""

    title: str
    body: str
    launch_url: str | None = None
    image_url: str | None = None
    messages: tuple[LocalText, ...] = ()
    buttons: tuple[Button, ...] = ()
    data: dict[str, Any] = {}
    #: Of the request; used by transports for these platforms.
    android: dict[str, Any] = {}
    ios: dict[str, Any] = {}
    kind: MessageKind = MessageKind.TRANSACTIONAL
    topic_id: str | None = None
    ttl_s: int = TTL_S_DEFAULT
    urgency: str = "normal"
    environment: Environment = Environment.PRODUCTION
    #: Of devices that get it; empty: all.
    platforms: tuple[Platform, ...] = ()


def choose_text(texts: Iterable[T], locale: str | None, code_of: Any) -> T | None:
    """The text for the language of a device; None: none fits.

    `de-AT` takes `de-AT`, else `de`, else another kind of `de`. `_` counts as `-`, and case does
    not.

    Args:
        texts: in order of preference.
        locale: as the device reports it.
        code_of: the language of a text.
    """
    if not locale:
        return None
    wanted = _parts(locale)
    best: T | None = None
    best_rank = 0
    for text in texts:
        code = _parts(code_of(text))
        if code[0] != wanted[0]:
            continue
        # Longer codes that the device has in full are better than longer ones that it has not.
        rank = 1 + len(code) if code == wanted[: len(code)] else 1
        if rank > best_rank:
            best, best_rank = text, rank
    return best


def payload_of(
    content: PushContent, *, notification_id: str, send_id: str | None, locale: str | None
) -> bytes:
    """The payload of one device, JSON in UTF-8."""
    text = choose_text(content.messages, locale, lambda one: one.code)
    launch_url, image_url = content.launch_url, content.image_url
    title, body, buttons = content.title, content.body, content.buttons
    if text is not None:
        buttons = text.buttons or buttons
        title, body = text.title, text.body
        launch_url, image_url = text.launch_url or launch_url, text.image_url or image_url
    metadata = {
        "notification_id": notification_id,
        "send_id": send_id,
        "launch_url": launch_url,
        "web_launch_url": launch_url,
        "image_url": image_url,
    }
    members: dict[str, Any] = {
        "notification": {"title": title, "body": body},
        "metadata": {name: value for name, value in metadata.items() if value is not None},
        "data": content.data,
        "actions": [
            {"id": one.id, "text": one.text, "title": one.text, "launch_url": one.launch_url}
            if one.launch_url
            else {"id": one.id, "text": one.text, "title": one.text}
            for one in buttons
        ],
    }
    return msgspec.json.encode({KEY: members})


def payload_bytes(content: PushContent) -> int:
    """Size of the largest payload in any language."""
    any_id = "00000000-0000-0000-0000-000000000000"
    locales = (None, *(one.code for one in content.messages))
    return max(
        len(payload_of(content, notification_id=any_id, send_id=any_id, locale=locale))
        for locale in locales
    )


def _parts(code: str) -> tuple[str, ...]:
    return tuple(code.lower().replace("_", "-").split("-"))
