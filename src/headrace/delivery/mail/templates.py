"""Versions of templates: checked once when published, rendered for each message."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from headrace.delivery.mail.css import CssError, inline_css
from headrace.delivery.mail.html_tokens import TokenKind, attribute_of, tokenize, value_of
from headrace.delivery.mail.liquid import TemplateError, parse, render
from headrace.delivery.mail.liquid_guard import MarkError, ProtectedMarks
from headrace.delivery.mail.plain_text import html_to_text
from headrace.domain.errors import FieldProblem
from headrace.domain.messages.header_rules import VALUE_CHARACTERS_MAX

#: Gmail clips mails with more bytes of HTML.
CLIPPED_BYTES = 102 * 1024
PREVIEW_CHARACTERS_MAX = 300

_CONTACT_MEMBERS = frozenset({"id", "external_id", "email", "properties", "created_at"})
_PERSONAL_LINK = re.compile(r"(?:contact\.)?(?:email|properties\.(?:email|phone))\b")
_LINE_ENDS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class TemplateSource(msgspec.Struct, frozen=True, kw_only=True):
    """The mail of a draft or a version, as Liquid; empty: none."""

    subject: str
    preview: str = ""
    html: str = ""
    text: str = ""


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """Result of publishing a draft.

    With problems nothing is published. Warnings do not prevent it.
    """

    #: With CSS inlined, and the text derived if there was none.
    source: TemplateSource
    #: Every variable with dots, sorted.
    variables: tuple[str, ...]
    #: Variables that must have a value whenever the template is sent.
    required: tuple[str, ...]
    problems: tuple[FieldProblem, ...]
    warnings: tuple[FieldProblem, ...]


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """The mail of one contact, before links are tracked."""

    #: One line.
    subject: str
    #: One line; empty: none.
    preview: str
    #: Empty: a mail without HTML.
    html: str
    text: str


async def publish(draft: TemplateSource) -> Publication:
    """Check a draft and produce the version to send."""
    problems: list[FieldProblem] = []
    warnings: list[FieldProblem] = []
    if not draft.subject.strip():
        problems.append(FieldProblem("subject_template", "is required"))
    if not (draft.html.strip() or draft.text.strip()):
        problems.append(FieldProblem("rendered_html", "or rendered_text is required"))
    variables: set[str] = set()
    required: set[str] = set()
    for field, source, is_html in _fields(draft):
        try:
            template = parse(source, is_html=is_html)
        except TemplateError as error:
            problems.append(FieldProblem(field, str(error)))
            continue
        variables.update(template.variables)
        required.update(template.required)
        problems += unknown_members(field, template.variables)
    if problems:
        return Publication(
            source=draft,
            variables=tuple(sorted(variables)),
            required=tuple(sorted(required)),
            problems=tuple(problems),
            warnings=(),
        )
    made = await _made(draft, warnings)
    return Publication(
        source=made,
        variables=tuple(sorted(variables)),
        required=tuple(sorted(required)),
        problems=(),
        warnings=tuple(warnings),
    )


def render_source(source: TemplateSource, values: Mapping[str, Any], now_us: int) -> Rendered:
    """Render a published version.

    Args:
        source: as published.
        values: from `headrace.domain.messages.variables.template_values`.
        now_us: time of sending.

    Raises:
        MissingVariableError: the message is skipped.
        TemplateError: the message fails; a limit was reached.
    """
    done = {
        field: render(parse(text, is_html=is_html), values, now_us)
        for field, text, is_html in _fields(source)
    }
    preview = _one_line(done.get("preview_text", ""))[:PREVIEW_CHARACTERS_MAX]
    return Rendered(
        subject=_one_line(done.get("subject_template", ""))[:VALUE_CHARACTERS_MAX],
        preview=preview,
        html=done.get("rendered_html", ""),
        text=done.get("rendered_text", ""),
    )


def derived_text(html: str) -> str:
    """Text of HTML that may contain Liquid; the marks stay in place.

    Raises:
        MarkError: the text cannot be a template.
    """
    protected = ProtectedMarks(html)
    # Without placeholders the text is derived from the HTML with Liquid in it: less tidy, but
    # correct.
    restored = (
        protected.restore(html_to_text(protected.words), complete=False)
        if protected.possible
        else None
    )
    return html_to_text(html) if restored is None else restored


def _fields(source: TemplateSource) -> list[tuple[str, str, bool]]:
    fields = (
        ("subject_template", source.subject, False),
        ("preview_text", source.preview, False),
        ("rendered_html", source.html, True),
        ("rendered_text", source.text, False),
    )
    return [one for one in fields if one[1]]


async def _made(draft: TemplateSource, warnings: list[FieldProblem]) -> TemplateSource:
    html = draft.html
    try:
        html = await inline_css(html)
        parse(html, is_html=True)
    except (CssError, MarkError, TemplateError) as error:
        html = draft.html
        warnings.append(FieldProblem("rendered_html", f"CSS is not inlined: {error}"))
    text = draft.text or derived_text(html)
    if not draft.text:
        try:
            parse(text, is_html=False)
        except TemplateError:
            # A condition began in a part that the text omits.
            text = ""
            warnings.append(
                FieldProblem("rendered_text", "cannot be derived; the text is made when it is sent")
            )
    warnings += _link_warnings(html)
    if len(html.encode()) > CLIPPED_BYTES:
        warnings.append(
            FieldProblem("rendered_html", f"is over {CLIPPED_BYTES} bytes; Gmail cuts it off")
        )
    return msgspec.structs.replace(draft, html=html, text=text)


def unknown_members(field: str, variables: tuple[str, ...]) -> list[FieldProblem]:
    """Problems of variables that no contact has."""
    found: list[FieldProblem] = []
    for name in variables:
        parts = name.split(".")
        if parts[0] == "contact" and len(parts) > 1 and parts[1] not in _CONTACT_MEMBERS:
            message = f"{name}: a contact has {', '.join(sorted(_CONTACT_MEMBERS))}"
            found.append(FieldProblem(field, message))
    return found


def _link_warnings(html: str) -> list[FieldProblem]:
    found: list[FieldProblem] = []
    for token in tokenize(html):
        href = attribute_of(token, "href") if token.kind is TokenKind.START else None
        if href is not None and _PERSONAL_LINK.search(value_of(html, href)):
            message = "a link holds personal data, which every server on its way can log"
            found.append(FieldProblem("rendered_html", message))
            break
    return found


def _one_line(text: str) -> str:
    return " ".join(_LINE_ENDS.sub(" ", text).split())
