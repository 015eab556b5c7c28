"""Templates of push: checked once when published, rendered for each attempt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from headrace.delivery.mail.liquid import TemplateError, parse, render
from headrace.delivery.mail.templates import unknown_members
from headrace.domain.contacts.contact import Contact
from headrace.domain.errors import FieldProblem, invalid
from headrace.domain.messages.requests import URL_CHARACTERS_MAX, PushButton, PushText
from headrace.domain.messages.variables import template_values
from headrace.domain.push.content import (
    PAYLOAD_BYTES_MAX,
    Button,
    LocalText,
    PushContent,
    choose_text,
    payload_bytes,
)
from headrace.pipeline.messages.composer import template_contact
from headrace.store.contract.messages import Draft, VersionContent
from headrace.store.push.materials import StepMaterial

#: Absent, so that a template with one of them is skipped instead of sent with a gap.
_LINKS = frozenset({"unsubscribe_url", "preferences_url"})


def publish_push(draft: Draft) -> VersionContent:
    """Check the draft of a push template and produce the version to send.

    Raises:
        ApiError: 422 with every problem.
    """
    messages, buttons, data = read_push_draft(draft)
    problems: list[FieldProblem] = []
    variables: set[str] = set()
    required: set[str] = set()
    sources = [*_button_fields(buttons, ""), *_data_fields(data)]
    if not messages:
        problems.append(FieldProblem("messages", "must have at least one message"))
    for place, one in enumerate(messages):
        sources += _fields(one, f"messages[{place}].")
    for field, source in sources:
        if _is_shown(field) and not source.strip():
            problems.append(FieldProblem(field, "must not be empty"))
        try:
            template = parse(source, is_html=False)
        except TemplateError as error:
            problems.append(FieldProblem(field, str(error)))
            continue
        variables.update(template.variables)
        required.update(template.required)
        problems += unknown_members(field, template.variables)
    default = (draft.default_locale or "").lower()
    if messages and default and all(one.locale.lower() != default for one in messages):
        problems.append(FieldProblem("default_locale", "is the locale of no message"))
    if problems:
        raise invalid(*problems)
    # The sort is stable: without a default language the first message is the default.
    ordered = sorted(messages, key=lambda one: one.locale.lower() != default)
    return VersionContent(
        texts=tuple(
            LocalText(
                code=one.locale,
                title=one.title,
                body=one.message,
                launch_url=one.launch_url,
                image_url=one.image_url,
                # Other languages without buttons take those of the first.
                buttons=_buttons(one.buttons or (() if place else buttons)),
            )
            for place, one in enumerate(ordered)
        ),
        data=data,
        variables=tuple(sorted(variables)),
        required=tuple(sorted(required)),
    )


def render_push(material: StepMaterial, locales: Sequence[str | None], now_us: int) -> PushContent:
    """What the push of a step says, in the languages of its devices.

    Args:
        locales: of each device; without a device nothing is rendered.
        now_us: time of sending.

    Raises:
        MissingVariableError: the message is skipped.
        TemplateError: the message fails; a limit was reached.
    """
    step = material.step
    if not locales:
        return PushContent(title="", body="", ttl_s=step.ttl_s, urgency=step.urgency)
    values = push_values(step.variables, step.payload, material.contact)
    wanted = [choose_text(material.texts, one, lambda text: text.code) for one in locales]
    first = render_text(material.texts[0], values, now_us)
    content = PushContent(
        title=first.title,
        body=first.body,
        launch_url=first.launch_url,
        image_url=first.image_url,
        buttons=first.buttons,
        messages=tuple(
            render_text(text, values, now_us) for text in material.texts if text in wanted
        ),
        data=render_data(material.data, values, now_us),
        ttl_s=step.ttl_s,
        urgency=step.urgency,
    )
    size = payload_bytes(content)
    if size > PAYLOAD_BYTES_MAX:
        raise TemplateError(f"the push has {size} bytes, at most {PAYLOAD_BYTES_MAX} can be sent")
    return content


def push_values(
    variables: Mapping[str, Any], payload: Mapping[str, Any], contact: Contact | None
) -> dict[str, Any]:
    """Values that a push template can use: those of mail, without links to unsubscribe."""
    values = template_values(
        variables=variables,
        payload=payload,
        contact=template_contact(contact),
        unsubscribe_url="",
        preferences_url="",
    )
    return {name: value for name, value in values.items() if name not in _LINKS}


def render_text(text: LocalText, values: Mapping[str, Any], now_us: int) -> LocalText:
    """Render the text of one language.

    Raises:
        MissingVariableError: a value is missing.
        TemplateError: a limit was reached, or a URL is none.
    """

    def made(source: str) -> str:
        return render(parse(source, is_html=False), values, now_us).strip()

    def url(source: str | None) -> str | None:
        found = made(source) if source else ""
        if len(found) > URL_CHARACTERS_MAX or not found.isprintable() or " " in found:
            raise TemplateError("a URL is too long or has whitespace")
        return found or None

    return LocalText(
        code=text.code,
        title=made(text.title),
        body=made(text.body),
        launch_url=url(text.launch_url),
        image_url=url(text.image_url),
        buttons=tuple(
            Button(id=one.id, text=made(one.text), launch_url=url(one.launch_url))
            for one in text.buttons
        ),
    )


def render_data(data: dict[str, Any], values: Mapping[str, Any], now_us: int) -> dict[str, Any]:
    """Render the strings in the data of a template, at any depth; names stay as they are.

    Raises:
        MissingVariableError: a value is missing.
        TemplateError: a limit was reached.
    """

    def made(value: Any) -> Any:
        if isinstance(value, str):
            return render(parse(value, is_html=False), values, now_us)
        if isinstance(value, dict):
            return {name: made(each) for name, each in value.items()}
        if isinstance(value, list):
            return [made(each) for each in value]
        return value

    return {name: made(value) for name, value in data.items()}


def read_push_draft(
    draft: Draft,
) -> tuple[tuple[PushText, ...], tuple[PushButton, ...], dict[str, Any]]:
    """Texts, buttons and data of the draft of a push template."""
    texts = msgspec.json.decode(draft.messages or "[]", type=tuple[PushText, ...])
    buttons = msgspec.json.decode(draft.buttons or "[]", type=tuple[PushButton, ...])
    return texts, buttons, msgspec.json.decode(draft.data or "{}", type=dict[str, Any])


def _is_shown(field: str) -> bool:
    """Whether a field is a text that people read, which must not be empty."""
    is_data = field.startswith("data")
    return not is_data and field.endswith(("].title", "].message", "].text"))


def _buttons(of: Sequence[PushButton]) -> tuple[Button, ...]:
    return tuple(Button(id=one.id, text=one.text, launch_url=one.launch_url) for one in of)


def _fields(one: PushText, path: str) -> list[tuple[str, str]]:
    fields = [(f"{path}title", one.title), (f"{path}message", one.message)]
    for name, source in (("launch_url", one.launch_url), ("image_url", one.image_url)):
        if source:
            fields.append((f"{path}{name}", source))
    return fields + _button_fields(one.buttons, path)


def _button_fields(of: Sequence[PushButton], path: str) -> list[tuple[str, str]]:
    fields: list[tuple[str, str]] = []
    for place, one in enumerate(of):
        fields.append((f"{path}buttons[{place}].text", one.text))
        if one.launch_url:
            fields.append((f"{path}buttons[{place}].launch_url", one.launch_url))
    return fields


def _data_fields(value: Any, path: str = "data") -> list[tuple[str, str]]:
    if isinstance(value, str):
        return [(path, value)]
    if isinstance(value, dict):
        items = [(f"{path}.{name}", each) for name, each in value.items()]
    else:
        items = [(f"{path}[{place}]", each) for place, each in enumerate(_listed(value))]
    return [field for name, each in items for field in _data_fields(each, name)]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
