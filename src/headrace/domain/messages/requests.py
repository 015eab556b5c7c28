"""Bodies of the requests on templates, domains and suppressions."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

import idna
import msgspec

from headrace.domain.email import normalize_email
from headrace.domain.errors import echo
from headrace.domain.events.problems import read_object
from headrace.domain.json_fields import FieldReader, kind_of
from headrace.domain.json_text import Number
from headrace.domain.labels import check_description, check_name
from headrace.domain.messages.email_request import plain_json
from headrace.domain.messages.kinds import SuppressionScope
from headrace.domain.messages.warm_up import DAILY_START_MAX, WarmUpChange
from headrace.domain.messages.warm_up import DAYS_MAX as WARM_UP_DAYS_MAX

SUBJECT_CHARACTERS_MAX = 2000
PREVIEW_CHARACTERS_MAX = 2000
#: Source of a template's HTML or text.
TEMPLATE_BYTES_MAX = 512 * 1024
EDITOR_BYTES_MAX = 1024 * 1024
EDITOR_DEPTH_MAX = 100
LOCALES_MAX = 50
PUSH_BUTTONS_MAX = 3
#: Source of the data of a push template, as JSON; what is sent is smaller.
PUSH_DATA_BYTES_MAX = 16 * 1024
PUSH_DATA_DEPTH_MAX = 8
URL_CHARACTERS_MAX = 2048
REASON_CHARACTERS_MAX = 200
DOMAIN_CHARACTERS_MAX = 253

_EMAIL_MEMBERS = (
    "subject_template",
    "preview_text",
    "editor_json",
    "rendered_html",
    "rendered_text",
)
_PUSH_MEMBERS = ("default_locale", "messages", "buttons", "data")
TEMPLATE_MEMBERS = ("name", "channel", "description", *_EMAIL_MEMBERS, *_PUSH_MEMBERS)
_PUSH_MESSAGE_MEMBERS = ("locale", "title", "message", "launch_url", "image_url", "buttons")
_PUSH_BUTTON_MEMBERS = ("id", "text", "launch_url")
DOMAIN_MEMBERS = ("name", "track_opens", "track_clicks", "warm_up")
_WARM_UP_MEMBERS = ("enabled", "daily_start", "days")
SUPPRESSION_MEMBERS = ("email", "scope", "reason")

_LOCALE = re.compile(r"[a-zA-Z]{2,8}(?:[-_][a-zA-Z0-9]{1,8}){0,3}")
_BUTTON_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Its spaces are none of the URL that it makes.
_LIQUID = re.compile(r"\{\{[^{}]*\}\}|\{%[^{}]*%\}")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class PushButton(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A button of a push template; text and URL are Liquid."""

    id: str
    text: str
    launch_url: str | None = None


class PushText(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A push template in one language."""

    locale: str
    title: str
    message: str
    launch_url: str | None = None
    image_url: str | None = None
    #: Empty: those of the template.
    buttons: tuple[PushButton, ...] = ()


class TemplateFields(msgspec.Struct, frozen=True, kw_only=True):
    """The fields sent; None: absent, the draft keeps its value."""

    name: str | None = None
    #: `email` or `push`; only when a template is made.
    channel: str | None = None
    description: str | None = None
    subject_template: str | None = None
    preview_text: str | None = None
    #: JSON text, stored but never interpreted.
    editor_json: str | None = None
    rendered_html: str | None = None
    rendered_text: str | None = None
    default_locale: str | None = None
    messages: tuple[PushText, ...] | None = None
    buttons: tuple[PushButton, ...] | None = None
    #: JSON text of an object; its strings are Liquid.
    data: str | None = None


class DomainFields(msgspec.Struct, frozen=True, kw_only=True):
    """A sending domain; None: absent."""

    #: Lower-case ASCII (IDNA).
    name: str | None = None
    track_opens: bool | None = None
    track_clicks: bool | None = None
    #: Only when a domain is changed.
    warm_up: WarmUpChange | None = None


class SuppressionFields(msgspec.Struct, frozen=True, kw_only=True):
    """An address that a person adds to the list."""

    #: Normalized.
    email: str
    scope: SuppressionScope
    #: Note of the caller; the reason of the row is `manual`.
    note: str


def decode_template(body: bytes, *, channel: str | None = None) -> TemplateFields:
    """Decode the body of a write to a template.

    Args:
        body: JSON text of an object.
        channel: that of the template which is changed; None when one is made.

    Raises:
        ApiError: with every problem listed.
    """
    check = FieldReader(read_object(body), TEMPLATE_MEMBERS, "a template")
    made = channel is None
    if made:
        check.require("name", "channel")
        channel = check.text("channel", _channel)
    elif check.text("channel", _channel) not in {None, channel}:
        check.add("channel", "cannot be changed")
    _reject_other_channel(check, channel)
    fields = TemplateFields(
        name=check.text("name", check_name),
        channel=channel if made else None,
        description=check.text("description", check_description),
        subject_template=check.text("subject_template", _line(SUBJECT_CHARACTERS_MAX)),
        preview_text=check.text("preview_text", _line(PREVIEW_CHARACTERS_MAX)),
        editor_json=_editor(check),
        rendered_html=check.text("rendered_html", _source),
        rendered_text=check.text("rendered_text", _source),
        default_locale=check.text("default_locale", _locale),
        messages=_push_texts(check),
        buttons=_push_buttons(check),
        data=_push_data(check),
    )
    check.raise_if_any()
    return fields


def decode_domain(body: bytes, *, required: bool) -> DomainFields:
    """Decode the body of a write to a domain; its name cannot be changed.

    Raises:
        ApiError: with every problem listed.
    """
    known = DOMAIN_MEMBERS[:-1] if required else DOMAIN_MEMBERS[1:]
    check = FieldReader(read_object(body), known, "a domain")
    if required:
        check.require("name")
    fields = DomainFields(
        name=check.text("name", check_domain) if required else None,
        track_opens=check.flag("track_opens"),
        track_clicks=check.flag("track_clicks"),
        warm_up=None if required else _warm_up(check),
    )
    check.raise_if_any()
    return fields


def _warm_up(check: FieldReader) -> WarmUpChange | None:
    value = check.members.get("warm_up")
    if value is None:
        return None
    if not isinstance(value, dict):
        check.add("warm_up", f"must be an object, got {kind_of(value)}")
        return None
    plan = FieldReader(value, _WARM_UP_MEMBERS, "a warm-up plan", inside=check, path="warm_up")
    return WarmUpChange(
        enabled=plan.flag("enabled") is not False,
        daily_start=_whole(plan, "daily_start", DAILY_START_MAX),
        days=_whole(plan, "days", WARM_UP_DAYS_MAX),
    )


def _whole(check: FieldReader, field: str, most: int) -> int | None:
    value = check.members.get(field)
    if value is None:
        return None
    if isinstance(value, Number) and value.isdigit() and 1 <= float(value) <= most:
        return int(value)
    check.add(field, f"must be a whole number from 1 to {most}")
    return None


def decode_suppression(body: bytes) -> SuppressionFields:
    """Decode the body of `POST /suppressions`.

    Raises:
        ApiError: with every problem listed.
    """
    check = FieldReader(read_object(body), SUPPRESSION_MEMBERS, "a suppression")
    check.require("email")
    fields = SuppressionFields(
        email=check.text("email", normalize_email) or "",
        scope=check.text("scope", _scope) or SuppressionScope.ALL,
        note=check.text("reason", _line(REASON_CHARACTERS_MAX)) or "",
    )
    check.raise_if_any()
    return fields


def check_domain(text: str) -> str:
    """Return the domain in lower-case ASCII (IDNA), without a final dot.

    Raises:
        ValueError: with a sentence for the caller.
    """
    message = "must be a domain such as example.org"
    trimmed = unicodedata.normalize("NFC", text.strip(" \t")).removesuffix(".")
    if not 1 <= len(trimmed) <= DOMAIN_CHARACTERS_MAX:
        raise ValueError(message)
    try:
        name = trimmed.lower()
        if not name.isascii():
            name = idna.encode(name, uts46=True).decode()
    except (idna.IDNAError, UnicodeError):
        raise ValueError(message) from None
    labels = name.split(".")
    if (
        len(name) > DOMAIN_CHARACTERS_MAX
        or len(labels) < 2
        or labels[-1].isdigit()
        or not all(_LABEL.fullmatch(label) for label in labels)
    ):
        raise ValueError(message)
    return name


def _channel(text: str) -> str:
    if text not in {"email", "push"}:
        message = f"must be email or push, got '{echo(text)}'"
        raise ValueError(message)
    return text


def _reject_other_channel(check: FieldReader, channel: str | None) -> None:
    other = {"email": _PUSH_MEMBERS, "push": _EMAIL_MEMBERS}.get(channel or "", ())
    for name in other:
        if check.members.get(name) is not None:
            check.add(name, f"belongs to no template of channel {channel}")


def _line(characters_max: int) -> Any:
    def rule(text: str) -> str:
        if len(text) > characters_max:
            message = f"must be at most {characters_max} characters"
            raise ValueError(message)
        if _CONTROL.search(text) or "\n" in text or "\r" in text:
            raise ValueError("must not contain line breaks or other control characters")
        return text

    return rule


def _source(text: str) -> str:
    size = len(text.encode())
    if size > TEMPLATE_BYTES_MAX:
        message = f"must be at most {TEMPLATE_BYTES_MAX} bytes, got {size}"
        raise ValueError(message)
    if _CONTROL.search(text):
        raise ValueError("must not contain control characters except line ends and tabs")
    return text


def _editor(check: FieldReader) -> str | None:
    value = check.members.get("editor_json")
    if value is None:
        return None
    if not isinstance(value, dict):
        check.add("editor_json", f"must be an object, got {kind_of(value)}")
        return None
    try:
        text = json.dumps(plain_json(value, EDITOR_DEPTH_MAX), separators=(",", ":"))
    except ValueError as error:
        check.add("editor_json", str(error))
        return None
    if len(text) > EDITOR_BYTES_MAX:
        check.add("editor_json", f"must be at most {EDITOR_BYTES_MAX} bytes, got {len(text)}")
    return text


def _locale(text: str) -> str:
    if _LOCALE.fullmatch(text) is None:
        raise ValueError("must be a language such as en or de-AT")
    return text


def _url(text: str) -> str:
    written = _LIQUID.sub("", text)
    if len(text) > URL_CHARACTERS_MAX or not text.isprintable() or " " in written:
        message = f"must be a URL of at most {URL_CHARACTERS_MAX} characters without whitespace"
        raise ValueError(message)
    return text


def _push_texts(check: FieldReader) -> tuple[PushText, ...] | None:
    if check.members.get("messages") is None:
        return None
    texts: list[PushText] = []
    for one in check.objects("messages", LOCALES_MAX, _PUSH_MESSAGE_MEMBERS, "a message"):
        one.require("locale", "title", "message")
        found = PushText(
            locale=one.text("locale", _locale) or "",
            title=one.text("title", _line(SUBJECT_CHARACTERS_MAX)) or "",
            message=one.text("message", _line(SUBJECT_CHARACTERS_MAX)) or "",
            launch_url=one.text("launch_url", _url),
            image_url=one.text("image_url", _url),
            buttons=_push_buttons(one) or (),
        )
        if any(found.locale.lower() == other.locale.lower() for other in texts):
            one.add("locale", "occurs twice")
        texts.append(found)
    return tuple(texts)


def _push_buttons(check: FieldReader) -> tuple[PushButton, ...] | None:
    if check.members.get("buttons") is None:
        return None
    buttons: list[PushButton] = []
    for one in check.objects("buttons", PUSH_BUTTONS_MAX, _PUSH_BUTTON_MEMBERS, "a button"):
        one.require("id", "text")
        found = PushButton(
            id=one.text("id", check_button_id) or "",
            text=one.text("text", _line(SUBJECT_CHARACTERS_MAX)) or "",
            launch_url=one.text("launch_url", _url),
        )
        if found.id and any(found.id == other.id for other in buttons):
            one.add("id", "occurs twice")
        buttons.append(found)
    return tuple(buttons)


def check_button_id(text: str) -> str:
    """Return the id of a button of a push.

    Raises:
        ValueError: with a sentence for the caller.
    """
    if _BUTTON_ID.fullmatch(text) is None:
        raise ValueError("must be 1 to 64 letters, digits and . _ -")
    return text


def _push_data(check: FieldReader) -> str | None:
    value = check.members.get("data")
    if value is None:
        return None
    if not isinstance(value, dict):
        check.add("data", f"must be an object, got {kind_of(value)}")
        return None
    try:
        text = json.dumps(plain_json(value, PUSH_DATA_DEPTH_MAX), separators=(",", ":"))
    except ValueError as error:
        check.add("data", str(error))
        return None
    if len(text) > PUSH_DATA_BYTES_MAX:
        check.add("data", f"must be at most {PUSH_DATA_BYTES_MAX} bytes, got {len(text)}")
    return text


def _scope(text: str) -> SuppressionScope:
    try:
        return SuppressionScope(text)
    except ValueError:
        message = f"must be one of {', '.join(SuppressionScope)}, got '{echo(text)}'"
        raise ValueError(message) from None
