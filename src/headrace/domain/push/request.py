"""The body of `POST /push/notifications`: strict, with every problem at once."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, TypeVar

import msgspec

from headrace.domain import timestamps
from headrace.domain.email import normalize_email
from headrace.domain.errors import echo
from headrace.domain.events.fields import (
    check_contact_id,
    check_external_id,
    check_idempotency_key,
)
from headrace.domain.events.problems import read_object
from headrace.domain.json_fields import FieldReader, kind_of
from headrace.domain.json_text import Number
from headrace.domain.messages.email_request import SCHEDULE_MAX_US, plain_json
from headrace.domain.messages.kinds import MessageKind
from headrace.domain.messages.requests import check_button_id
from headrace.domain.push.content import (
    BUTTONS_MAX,
    PAYLOAD_BYTES_MAX,
    TEXTS_MAX,
    TTL_S_DEFAULT,
    TTL_S_MAX,
    Button,
    LocalText,
    PushContent,
    payload_bytes,
)
from headrace.domain.push.devices import is_app_id, is_device_id
from headrace.domain.push.kinds import ApnsEnvironment, Environment, Platform

T = TypeVar("T")

#: Targets of one request; audiences have no limit of contacts.
TARGETS_MAX = 1000
AUDIENCES_MAX = 20
TEXT_CHARACTERS_MAX = 2000
URL_CHARACTERS_MAX = 2048
TOKEN_CHARACTERS_MAX = 4096
DATA_DEPTH_MAX = 8
_BADGE_MAX = 99_999
URGENCIES = ("very-low", "low", "normal", "high")

#: Styles of targeting: a request has exactly one.
STYLES = (
    *("tokens", "web_subscriptions", "device_ids", "contact_ids", "external_ids", "emails"),
    "audiences",
)
_OF_CONTACTS = frozenset({"contact_ids", "external_ids", "emails", "audiences"})
MEMBERS = (
    *("app_id", *STYLES, "excluded_audiences", "platforms", "environment", "scheduled_at"),
    *("notification", "messages", "buttons", "data", "android", "ios", "idempotency_key"),
    *("kind", "topic_id", "ttl_seconds", "urgency"),
)
_ANDROID = ("channel_id", "sound", "ttl")
_IOS = ("sound", "badge", "mutable_content", "apns_environment")
_CODE = re.compile(r"[a-zA-Z]{2,8}(?:[-_][a-zA-Z0-9]{1,8}){0,3}")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class RawTarget(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A token or subscription that the request names itself."""

    platform: Platform
    #: Token of FCM or APNs, or the endpoint of Web Push.
    address: str
    p256dh: str | None = None
    auth: str | None = None


class PushRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A checked request. Exactly one of the styles is not empty."""

    app_id: str
    content: PushContent
    raw: tuple[RawTarget, ...] = ()
    device_ids: tuple[str, ...] = ()
    contact_ids: tuple[str, ...] = ()
    external_ids: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    audiences: tuple[str, ...] = ()
    excluded_audiences: tuple[str, ...] = ()
    #: Microseconds since 1970; None or past: now.
    scheduled_us: int | None = None
    idempotency_key: str | None = None


def decode_push(body: bytes, now_us: int, *, header_key: str | None = None) -> PushRequest:
    """Decode and check the body of `POST /push/notifications`.

    Args:
        body: JSON text of an object.
        now_us: wall clock, for `scheduled_at`.
        header_key: the header `Idempotency-Key`.

    Raises:
        ApiError: 400 for the JSON, 422 with every problem listed.
    """
    check = FieldReader(read_object(body), MEMBERS, "a push")
    check.require("app_id", "notification")
    style = _style(check)
    request = PushRequest(
        app_id=check.text("app_id", _app_id) or "",
        content=_content(check, style),
        raw=(*_tokens(check), *_subscriptions(check)),
        device_ids=_unique(check, "device_ids", _device_id),
        contact_ids=_unique(check, "contact_ids", check_contact_id),
        external_ids=_unique(check, "external_ids", check_external_id),
        emails=_unique(check, "emails", normalize_email),
        audiences=_unique(check, "audiences", check_contact_id, AUDIENCES_MAX),
        excluded_audiences=_unique(check, "excluded_audiences", check_contact_id, AUDIENCES_MAX),
        scheduled_us=check.text("scheduled_at", lambda text: _scheduled(text, now_us)),
        idempotency_key=_key(check, header_key),
    )
    if request.excluded_audiences and style not in _OF_CONTACTS:
        check.add("excluded_audiences", "needs contact_ids, external_ids, emails or audiences")
    check.raise_if_any()
    return request


def _style(check: FieldReader) -> str | None:
    given = [name for name in STYLES if check.members.get(name) is not None]
    if len(given) != 1:
        check.add("", f"exactly one of {', '.join(STYLES)} is required")
        return None
    if check.members[given[0]] == []:
        check.add(given[0], "must not be empty")
    return given[0]


def _content(check: FieldReader, style: str | None) -> PushContent:
    to_audiences = style == "audiences"
    default = MessageKind.MARKETING if to_audiences else MessageKind.TRANSACTIONAL
    kind = check.text("kind", _one_of(MessageKind)) or default
    if to_audiences and kind is not MessageKind.MARKETING:
        check.add("kind", "must be marketing if audiences are given")
    notification = _object(check, "notification", ("title", "body", "launch_url", "image_url"))
    title = body = launch_url = image_url = None
    if notification is not None:
        notification.require("title", "body")
        title, body = notification.text("title", _text), notification.text("body", _text)
        launch_url = notification.text("launch_url", _url)
        image_url = notification.text("image_url", _url)
    content = PushContent(
        title=title or "",
        body=body or "",
        launch_url=launch_url,
        image_url=image_url,
        messages=_messages(check),
        buttons=_buttons(check),
        data=_data(check),
        android=_options(check, "android", _ANDROID),
        ios=_options(check, "ios", _IOS),
        kind=kind,
        topic_id=check.text("topic_id", check_contact_id),
        ttl_s=_whole(check, "ttl_seconds", TTL_S_MAX, TTL_S_DEFAULT),
        urgency=check.text("urgency", _urgency) or "normal",
        environment=check.text("environment", _one_of(Environment)) or Environment.PRODUCTION,
        platforms=_unique(check, "platforms", _one_of(Platform)),
    )
    size = payload_bytes(content)
    if size > PAYLOAD_BYTES_MAX:
        check.add("", f"the push has {size} bytes, at most {PAYLOAD_BYTES_MAX} can be sent")
    return content


def _object(check: FieldReader, field: str, known: tuple[str, ...]) -> FieldReader | None:
    value = check.members.get(field)
    if value is None:
        return None
    if not isinstance(value, dict):
        check.add(field, f"must be an object, got {kind_of(value)}")
        return None
    return FieldReader(value, known, field, inside=check, path=field)


def _messages(check: FieldReader) -> tuple[LocalText, ...]:
    texts: list[LocalText] = []
    for one in check.objects("messages", TEXTS_MAX, ("code", "label", "title", "body"), "a text"):
        one.require("code", "title", "body")
        found = LocalText(
            code=one.text("code", _code) or "",
            label=one.text("label", _text) or "",
            title=one.text("title", _text) or "",
            body=one.text("body", _text) or "",
        )
        if found.code and any(found.code.lower() == each.code.lower() for each in texts):
            one.add("code", "occurs twice")
        texts.append(found)
    return tuple(texts)


def _buttons(check: FieldReader) -> tuple[Button, ...]:
    buttons: list[Button] = []
    known = ("id", "text", "title", "launch_url")
    for one in check.objects("buttons", BUTTONS_MAX, known, "a button"):
        one.require("id")
        if one.members.get("text") is None and one.members.get("title") is None:
            one.add("text", "is required")
        button_id = one.text("id", check_button_id) or ""
        # `title` is an older name.
        text = one.text("text", _text) or one.text("title", _text) or ""
        if button_id and any(button_id == each.id for each in buttons):
            one.add("id", "occurs twice")
        buttons.append(Button(id=button_id, text=text, launch_url=one.text("launch_url", _url)))
    return tuple(buttons)


def _data(check: FieldReader) -> dict[str, Any]:
    value = check.members.get("data")
    if value is None:
        return {}
    if not isinstance(value, dict):
        check.add("data", f"must be an object, got {kind_of(value)}")
        return {}
    try:
        plain: dict[str, Any] = plain_json(value, DATA_DEPTH_MAX)
    except ValueError as error:
        check.add("data", str(error))
        return {}
    return plain


def _options(check: FieldReader, field: str, known: tuple[str, ...]) -> dict[str, Any]:
    one = _object(check, field, known)
    if one is None:
        return {}
    found: dict[str, Any] = {
        name: one.text(name, _text) for name in ("channel_id", "sound", "ttl") if name in known
    }
    if "badge" in known:
        found["badge"] = _whole(one, "badge", _BADGE_MAX, None)
        found["mutable_content"] = one.flag("mutable_content")
        found["apns_environment"] = one.text("apns_environment", _one_of(ApnsEnvironment))
    return {name: value for name, value in found.items() if value is not None}


def _tokens(check: FieldReader) -> tuple[RawTarget, ...]:
    targets: dict[str, RawTarget] = {}
    for one in check.objects("tokens", TARGETS_MAX, ("token", "platform"), "a token"):
        one.require("token", "platform")
        platform = one.text("platform", _one_of(Platform))
        if platform is Platform.WEB:
            one.add("platform", "must be android or ios; web has web_subscriptions")
        token = one.text("token", _token)
        if token is not None and platform is not None:
            targets[token] = RawTarget(platform=platform, address=token)
    return tuple(targets.values())


def _subscriptions(check: FieldReader) -> tuple[RawTarget, ...]:
    targets: dict[str, RawTarget] = {}
    known = ("endpoint", "expirationTime", "keys")
    for one in check.objects("web_subscriptions", TARGETS_MAX, known, "a subscription"):
        one.require("endpoint", "keys")
        endpoint = one.text("endpoint", _url)
        keys = _object(one, "keys", ("p256dh", "auth"))
        if keys is None or endpoint is None:
            continue
        keys.require("p256dh", "auth")
        p256dh, auth = keys.text("p256dh", _bytes(65)), keys.text("auth", _bytes(16))
        targets[endpoint] = RawTarget(
            platform=Platform.WEB, address=endpoint, p256dh=p256dh, auth=auth
        )
    return tuple(targets.values())


def _whole(check: FieldReader, field: str, most: int, default: T) -> int | T:
    value = check.members.get(field)
    if value is None:
        return default
    if isinstance(value, Number) and value.isdigit() and len(value) < 12 and int(value) <= most:
        return int(value)
    check.add(field, f"must be a whole number from 0 to {most}")
    return default


def _unique(check: FieldReader, field: str, rule: Any, most: int = TARGETS_MAX) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(check.texts(field, most, rule) or ()))


def _one_of(kind: Any) -> Any:
    def rule(text: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            message = f"must be one of {', '.join(kind)}, got '{echo(text)}'"
            raise ValueError(message) from None

    return rule


def _urgency(text: str) -> str:
    if text not in URGENCIES:
        message = f"must be one of {', '.join(URGENCIES)}, got '{echo(text)}'"
        raise ValueError(message)
    return text


def _app_id(text: str) -> str:
    if not is_app_id(text):
        raise ValueError("must be the id of a push app: 1 to 64 letters, digits, - and _")
    return text


def _device_id(text: str) -> str:
    if not is_device_id(text):
        raise ValueError("must be the id of a device: 1 to 64 letters, digits and . _ : -")
    return text


def _code(text: str) -> str:
    if _CODE.fullmatch(text) is None:
        raise ValueError("must be a language such as en or de-AT")
    return text


def _text(text: str) -> str:
    if not 1 <= len(text) <= TEXT_CHARACTERS_MAX:
        message = f"must be 1 to {TEXT_CHARACTERS_MAX} characters"
        raise ValueError(message)
    if _CONTROL.search(text):
        raise ValueError("must not contain control characters except line ends and tabs")
    return text


def _url(text: str) -> str:
    if len(text) > URL_CHARACTERS_MAX or not text.isprintable() or " " in text or not text:
        message = f"must be a URL of at most {URL_CHARACTERS_MAX} characters without whitespace"
        raise ValueError(message)
    return text


def _token(text: str) -> str:
    if not 1 <= len(text) <= TOKEN_CHARACTERS_MAX or not text.isascii() or not text.isprintable():
        message = f"must be 1 to {TOKEN_CHARACTERS_MAX} printable ASCII characters"
        raise ValueError(message)
    return text


def _bytes(size: int) -> Any:
    def rule(text: str) -> str:
        plain = text.rstrip("=")
        try:
            value = base64.b64decode(plain + "=" * (-len(plain) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            value = b""
        if len(value) != size:
            message = f"must be {size} bytes in base64url"
            raise ValueError(message)
        return plain

    return rule


def _scheduled(text: str, now_us: int) -> int:
    at_us = timestamps.parse(text)
    if at_us > now_us + SCHEDULE_MAX_US:
        raise ValueError("is more than a year ahead")
    return at_us


def _key(check: FieldReader, header_key: str | None) -> str | None:
    key = check.text("idempotency_key", check_idempotency_key)
    if header_key is None:
        return key
    if key is not None and key != header_key:
        check.add("idempotency_key", "differs from the header Idempotency-Key")
    try:
        return check_idempotency_key(header_key)
    except ValueError as error:
        check.add("Idempotency-Key", str(error))
        return None
