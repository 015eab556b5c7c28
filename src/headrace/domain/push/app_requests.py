"""Reads requests that create or change a push app."""

from __future__ import annotations

import re

import msgspec

from headrace.domain.errors import FieldProblem, invalid
from headrace.domain.events.problems import read_object
from headrace.domain.json_fields import FieldReader, kind_of
from headrace.domain.labels import check_name

ORIGINS_MAX = 50
ORIGIN_CHARACTERS_MAX = 300
PATH_CHARACTERS_MAX = 200
#: File and scope of the worker that comes with the public web client.
WORKER_PATH, WORKER_SCOPE = "/sendrealm-service-worker.js", "/"

MEMBERS = ("name", "origins", "worker_path", "worker_scope", "fcm_app")
FCM_MEMBERS = ("application_id", "project_id", "sender_id", "api_key")
FCM_CHARACTERS_MAX = 200

_ORIGIN = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)"
    r"(?::(?P<port>[0-9]{1,5}))?/?"
)
_DEFAULT_PORT = {"http": "80", "https": "443"}
_PATH = re.compile(r"/[!-~]*")
_PRINTABLE = re.compile(r"[!-~]+")


class PushAppFields(msgspec.Struct, frozen=True, kw_only=True):
    """Checked fields of a request; None: absent."""

    name: str | None = None
    origins: tuple[str, ...] | None = None
    worker_path: str | None = None
    worker_scope: str | None = None
    #: JSON text; empty: it is removed.
    fcm_app: str | None = None


def decode_push_app(body: bytes, *, required: bool) -> PushAppFields:
    """Decode and check a body.

    Args:
        required: whether a name is needed.

    Raises:
        ApiError: with every problem listed.
    """
    check = FieldReader(read_object(body), MEMBERS, "a push app")
    if required:
        check.require("name")
    origins = check.texts("origins", ORIGINS_MAX, check_origin)
    fields = PushAppFields(
        name=check.text("name", check_name),
        origins=None if origins is None else tuple(dict.fromkeys(origins)),
        worker_path=check.text("worker_path", _check_path),
        worker_scope=check.text("worker_scope", _check_path),
        fcm_app=_fcm_app(check),
    )
    check.raise_if_any()
    return fields


def push_app_fields(name: str, origins: list[str]) -> PushAppFields:
    """The same from arguments.

    Raises:
        ApiError: 422 with what is wrong.
    """
    problems: list[FieldProblem] = []
    checked: list[str] = []
    try:
        name = check_name(name)
    except ValueError as error:
        problems.append(FieldProblem("name", str(error)))
    for each in origins:
        try:
            checked.append(check_origin(each))
        except ValueError as error:
            problems.append(FieldProblem("origins", str(error)))
    if len(origins) > ORIGINS_MAX:
        problems.append(FieldProblem("origins", f"must have at most {ORIGINS_MAX} items"))
    if problems:
        raise invalid(*problems)
    return PushAppFields(name=name, origins=tuple(dict.fromkeys(checked)))


def check_origin(text: str) -> str:
    """An origin as browsers send it: lower-case, without the scheme's default port.

    Raises:
        ValueError: with a sentence for the caller.
    """
    found = None
    if len(text) <= ORIGIN_CHARACTERS_MAX:
        found = _ORIGIN.fullmatch(text.strip().lower())
    if found is None:
        message = "must be an origin such as https://shop.example.org, without a path"
        raise ValueError(message)
    port = found["port"]
    suffix = "" if port is None or port == _DEFAULT_PORT[found["scheme"]] else f":{port}"
    return f"{found['scheme']}://{found['host']}{suffix}"


def _check_path(text: str) -> str:
    if len(text) > PATH_CHARACTERS_MAX or _PATH.fullmatch(text) is None:
        message = f"must be a path such as /push/, at most {PATH_CHARACTERS_MAX} characters"
        raise ValueError(message)
    return text


def _fcm_app(check: FieldReader) -> str | None:
    value = check.members.get("fcm_app")
    if value is None:
        return None
    if not isinstance(value, dict):
        check.add("fcm_app", f"must be an object, got {kind_of(value)}")
        return None
    if not value:
        return ""
    inner = FieldReader(value, FCM_MEMBERS, "fcm_app", inside=check, path="fcm_app")
    inner.require(*FCM_MEMBERS)
    found = {name: inner.text(name, _check_printable) for name in FCM_MEMBERS}
    return msgspec.json.encode(found).decode()


def _check_printable(text: str) -> str:
    if len(text) > FCM_CHARACTERS_MAX or _PRINTABLE.fullmatch(text) is None:
        message = f"must be 1 to {FCM_CHARACTERS_MAX} printable ASCII characters"
        raise ValueError(message)
    return text
