"""Reads what clients send, without a key, at `/v1/…`.

Phones send a rejected request again for ever, so members that cannot be used are ignored, as if
they were absent. Only what a developer sees at once is rejected: a wrong platform or device id of
a website, and a subscription that cannot be used.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from headrace.domain.contacts.properties import (
    PROPERTIES_MAX,
    PropertyValue,
    check_value,
    name_problem,
)
from headrace.domain.email import normalize_email
from headrace.domain.errors import ApiError, FieldProblem, invalid
from headrace.domain.events.fields import check_external_id, check_payload
from headrace.domain.events.identity import IdentityType
from headrace.domain.events.placeholders import Placeholders
from headrace.domain.events.problems import read_object
from headrace.domain.ids import UUID_TEXT
from headrace.domain.json_fields import text_problem
from headrace.domain.json_text import Number, forbidden_escape
from headrace.domain.push.client_events import NAME_CHARACTERS_MAX
from headrace.domain.push.devices import Facts, is_app_id, is_device_id
from headrace.domain.push.kinds import ApnsEnvironment, Environment, Permission, Platform

FACT_CHARACTERS_MAX = 100
TOKEN_CHARACTERS_MAX = 4096
KEY_CHARACTERS_MAX = 1000
#: Of what clients call properties that are theirs alone: a tag cannot set them.
RESERVED_TAGS = frozenset({"id", "contact_id", "external_id", "email", "created_at", "updated_at"})
_POINT_BYTES, _AUTH_BYTES = 65, 16
#: The latest end of a subscription, in milliseconds: the year 3000.
_EXPIRES_MS_MAX = 32_503_680_000_000

_TOKEN = re.compile(r"[!-~]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_FACTS = {
    "locale": "device_locale",
    "timezone": "timezone",
    "sdk_version": "sdk_version",
    "os_version": "os_version",
    "app_version": "app_version",
    "model": "device_model",
    "package": "android_package_name",
}

Kind = TypeVar("Kind", bound=StrEnum)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a client says about its device; None: nothing."""

    device_id: str | None
    platform: Platform | None
    environment: Environment | None
    permission: Permission | None
    subscribed: bool | None
    facts: Facts


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where a device is reached."""

    #: Token of FCM or APNs, or the endpoint of Web Push.
    address: str
    p256dh: str | None = None
    auth: str | None = None
    expires_us: int | None = None
    apns_environment: ApnsEnvironment | None = None


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who uses a device, as its client says."""

    external_id: str | None = None
    #: Normalized, and as sent.
    email: str | None = None
    email_original: str | None = None
    #: Whether nothing is said about it, so that it stays as it is.
    keep: bool = False

    @property
    def is_known(self) -> bool:
        """Whether somebody is logged in."""
        return self.external_id is not None or self.email is not None


class Tracked(msgspec.Struct, frozen=True, kw_only=True):
    """An event of a client."""

    name: str
    notification_id: str | None
    action_id: str | None
    #: JSON text of an object.
    payload: str
    idempotency_key: str | None


def read_client_request(body: bytes) -> tuple[str, dict[str, Any]]:
    """The app and the members of a request.

    Raises:
        ApiError: it is no JSON object, or names no app.
    """
    members = read_object(body)
    app_id = _text(members, "app_id")
    if app_id is None or not is_app_id(app_id):
        raise invalid(FieldProblem("app_id", "must be the id of a push app"))
    return app_id, members


def report_of(members: Mapping[str, Any]) -> Report:
    """What a request says about the device."""
    device_id = _text(members, "device_id")
    subscribed = members.get("subscribed")
    return Report(
        device_id=device_id if device_id is not None and is_device_id(device_id) else None,
        platform=_kind(members, "platform", Platform),
        environment=_kind(members, "environment", Environment),
        permission=_kind(members, "permission_status", Permission),
        subscribed=subscribed if isinstance(subscribed, bool) else None,
        facts=Facts(**{name: _fact(members, member) for name, member in _FACTS.items()}),
    )


def require_platform(report: Report) -> Platform:
    """The platform of a request.

    Raises:
        ApiError: 422 when it is none.
    """
    if report.platform is None:
        raise invalid(FieldProblem("platform", "must be android, ios or web"))
    return report.platform


def address_of(members: Mapping[str, Any], platform: Platform) -> Address | None:
    """Where the device is reached, None when the request does not say.

    Raises:
        ApiError: 422 for a subscription of a website that cannot be used.
    """
    if platform is Platform.WEB:
        return _subscription(members.get("web_push_subscription"))
    for name in ("registration_id", "apns_device_token"):
        token = _text(members, name)
        if token and len(token) <= TOKEN_CHARACTERS_MAX and _TOKEN.fullmatch(token):
            kind = _kind(members, "apns_environment", ApnsEnvironment)
            return Address(
                address=token, apns_environment=kind if platform is Platform.IOS else None
            )
    return None


def identity_of(members: Mapping[str, Any], is_placeholder: Placeholders) -> Identity:
    """Who uses the device. Mobile clients signal a logout by naming nobody."""
    external_id = _checked(members, "user_external_id", check_external_id)
    email = _checked(members, "user_email", normalize_email)
    if external_id is not None and is_placeholder(IdentityType.EXTERNAL_ID, external_id):
        external_id = None
    if email is not None and is_placeholder(IdentityType.EMAIL, email):
        email = None
    if members.get("clear_user_identity") is True:
        return Identity()
    known = external_id is not None or email is not None
    sent = members.get("user_email")
    return Identity(
        external_id=external_id,
        email=email,
        email_original=None if email is None or sent == email else sent,
        keep=not known and members.get("preserve_user_identity") is True,
    )


def tracked_of(body: bytes, members: Mapping[str, Any], payload_bytes_max: int) -> Tracked:
    """The event of a request.

    Raises:
        ApiError: it cannot be stored; the message says why.
    """
    name = _text(members, "event_type")
    if name is None or not name.strip() or len(name) > NAME_CHARACTERS_MAX:
        message = f"must be a text of 1 to {NAME_CHARACTERS_MAX} characters"
        raise invalid(FieldProblem("event_type", message))
    properties = members.get("properties")
    if properties is not None and not isinstance(properties, dict):
        raise invalid(FieldProblem("properties", "must be an object"))
    payload = "{}"
    if properties is not None:
        try:
            payload = _raw_properties(body, payload_bytes_max)
        except ValueError as error:
            raise invalid(FieldProblem("properties", str(error))) from None
        except ApiError as error:
            # The client calls the payload by another name.
            message = error.message.replace("payload:", "properties:", 1)
            raise ApiError(error.code, message) from None
    inner = properties or {}
    notification_id = _text(members, "notification_id") or _text(inner, "notification_id")
    action_id = _text(inner, "action_id") or _text(members, "action_id")
    key = _text(members, "idempotency_key")
    return Tracked(
        name=name.strip(),
        notification_id=None
        if notification_id is None or UUID_TEXT.fullmatch(notification_id) is None
        else notification_id.lower(),
        action_id=None if action_id is None else action_id[:FACT_CHARACTERS_MAX],
        payload=payload,
        idempotency_key=key if key and len(key) <= KEY_CHARACTERS_MAX else None,
    )


class _PropertiesOnly(msgspec.Struct):
    properties: msgspec.Raw = msgspec.Raw(b"{}")


def _raw_properties(body: bytes, bytes_max: int) -> str:
    found = forbidden_escape(body)
    if found is not None:
        message = f"must not contain {found}"
        raise ValueError(message)
    try:
        raw = bytes(msgspec.json.decode(body, type=_PropertiesOnly).properties)
    except (msgspec.MsgspecError, RecursionError):
        message = "is not valid JSON"
        raise ValueError(message) from None
    return check_payload(raw, bytes_max)


def tags_of(members: Mapping[str, Any]) -> dict[str, PropertyValue | None]:
    """Tags to set, or (None) to remove; those that cannot be properties are left out."""
    sent = members.get("tags")
    found: dict[str, PropertyValue | None] = {}
    if not isinstance(sent, dict):
        return found
    for name, value in sent.items():
        if len(found) >= PROPERTIES_MAX:
            break
        if name_problem(name) is not None or name in RESERVED_TAGS or name.startswith("$"):
            continue
        try:
            found[name] = None if value is None else check_value(value)
        except ValueError:
            continue
    return found


def _subscription(sent: Any) -> Address | None:
    if sent is None:
        return None
    field = "web_push_subscription"
    if not isinstance(sent, dict):
        raise invalid(FieldProblem(field, "must be an object"))
    endpoint = _text(sent, "endpoint")
    if endpoint is None:
        raise invalid(FieldProblem(f"{field}.endpoint", "must be a URL"))
    sent_keys = sent.get("keys")
    keys = sent_keys if isinstance(sent_keys, dict) else {}
    return Address(
        address=endpoint,
        p256dh=_key(keys, "p256dh", _POINT_BYTES),
        auth=_key(keys, "auth", _AUTH_BYTES),
        expires_us=_expiration(sent.get("expirationTime")),
    )


def _key(keys: Mapping[str, Any], name: str, size: int) -> str:
    """A key in base64url without padding."""
    text = _text(keys, name) or ""
    plain = text.rstrip("=").replace("+", "-").replace("/", "_")
    try:
        raw = base64.b64decode(plain + "=" * (-len(plain) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != size or (size == _POINT_BYTES and raw[0] != 4):
        message = f"must be {size} bytes in base64url"
        raise invalid(FieldProblem(f"web_push_subscription.keys.{name}", message))
    return plain


def _expiration(sent: Any) -> int | None:
    """Microseconds since 1970, from milliseconds."""
    if not isinstance(sent, Number):
        return None
    try:
        milliseconds = float(sent)
    except ValueError:
        return None
    return int(milliseconds * 1000) if 0 < milliseconds < _EXPIRES_MS_MAX else None


def _text(members: Mapping[str, Any], name: str) -> str | None:
    value = members.get(name)
    return value if value is not None and text_problem(value) is None else None


def _fact(members: Mapping[str, Any], name: str) -> str | None:
    text = _CONTROL.sub("", _text(members, name) or "").strip()
    return text[:FACT_CHARACTERS_MAX] or None


def _kind(members: Mapping[str, Any], name: str, kind: type[Kind]) -> Kind | None:
    try:
        return kind(_text(members, name) or "")
    except ValueError:
        return None


def _checked(members: Mapping[str, Any], name: str, rule: Any) -> str | None:
    text = _text(members, name)
    if text is None:
        return None
    try:
        checked: str = rule(text)
    except (ValueError, ApiError):
        return None
    return checked
