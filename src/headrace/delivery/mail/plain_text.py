"""Derives the plain text of a mail from its HTML."""

from __future__ import annotations

import html
import re

from headrace.delivery.mail.html_tokens import (
    Token,
    TokenKind,
    attribute_of,
    tokenize,
    value_of,
)

_HIDDEN = frozenset({"style", "script", "title", "iframe", "noembed"})
_PARAGRAPHS = frozenset(
    "p h1 h2 h3 h4 h5 h6 ul ol dl table blockquote pre hr figure section article".split()  # noqa: SIM905 - reads as HTML's own list
)
_LINES = frozenset(
    "div tr li dt dd header footer main nav aside center form address caption".split()  # noqa: SIM905 - as above
)
_BLANKS = re.compile(r"[ \t\r\n\f\u00a0\u200b\u200c\u00ad\ufeff\u034f]+")
_INVISIBLE_STYLE = re.compile(r"display\s*:\s*none", re.IGNORECASE)
#: The last are Liquid, as it is or as placeholders.
_SHOWN_TARGET = re.compile(r"(?:https?:|mailto:|tel:|\{\{|lqd[0-9])", re.IGNORECASE)


def html_to_text(text: str) -> str:
    """Text of the HTML: paragraphs as blank lines, list items with dashes, targets after links."""
    writer = _Writer()
    hidden: list[str] = []
    for token in tokenize(text):
        if hidden:
            _track_hidden(token, hidden)
        elif token.kind is TokenKind.TEXT or (
            token.kind is TokenKind.RAW and token.name not in _HIDDEN
        ):
            writer.text(html.unescape(text[token.start : token.end]))
        elif token.kind is TokenKind.START:
            if token.name == "head" or _is_invisible(text, token):
                hidden.append(token.name)
            else:
                _start(text, token, writer)
        elif token.kind is TokenKind.END:
            _end(token, writer)
    return writer.done()


def _track_hidden(token: Token, hidden: list[str]) -> None:
    if token.kind is TokenKind.START and token.name == hidden[0]:
        hidden.append(token.name)
    elif (token.kind is TokenKind.END and token.name == hidden[0]) or (
        token.name == "body" and hidden[0] == "head"
    ):
        hidden.pop()


def _is_invisible(text: str, token: Token) -> bool:
    # Only elements with an end tag: a hidden image hides nothing after it.
    if token.name not in {"div", "span", "a", "p", "td", "table", "tr"}:
        return False
    style = attribute_of(token, "style")
    return style is not None and _INVISIBLE_STYLE.search(value_of(text, style)) is not None


def _start(text: str, token: Token, writer: _Writer) -> None:
    if token.name == "br":
        writer.line_end()
    elif token.name == "hr":
        writer.gap(2)
        writer.text("---")
        writer.gap(2)
    elif token.name == "li":
        writer.gap(1)
        writer.text("- ")
    elif token.name in {"td", "th"}:
        writer.text(" ")
    elif token.name == "img":
        alt = attribute_of(token, "alt")
        if alt is not None:
            writer.text(value_of(text, alt))
    elif token.name == "a":
        href = attribute_of(token, "href")
        writer.link_start(None if href is None else value_of(text, href).strip())
    else:
        _gap(token, writer)


def _end(token: Token, writer: _Writer) -> None:
    if token.name == "a":
        writer.link_end()
    else:
        _gap(token, writer)


def _gap(token: Token, writer: _Writer) -> None:
    if token.name in _PARAGRAPHS:
        writer.gap(2)
    elif token.name in _LINES:
        writer.gap(1)


class _Writer:
    """Collects lines; white space is collapsed, and gaps are at most one empty line."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._gap = 0
        self._blank = False
        self._target: str | None = None
        self._link_from = 0

    def text(self, text: str) -> None:
        plain = _BLANKS.sub(" ", text)
        if not plain:
            return
        body = plain.strip(" ")
        if not body:
            self._blank = True
            return
        if self._gap and self._pieces:
            self._pieces.append("\n" * self._gap)
        elif self._pieces and (self._blank or plain[0] == " "):
            self._pieces.append(" ")
        self._gap = 0
        self._pieces.append(body)
        self._blank = plain[-1] == " "

    def gap(self, line_ends: int) -> None:
        self._gap = max(self._gap, line_ends)

    def line_end(self) -> None:
        self._gap = min(self._gap + 1, 2)

    def link_start(self, target: str | None) -> None:
        self._target = target
        self._link_from = len(self._pieces)

    def link_end(self) -> None:
        target, self._target = self._target, None
        if not target or _SHOWN_TARGET.match(target) is None:
            return
        label = "".join(self._pieces[self._link_from :]).strip()
        address = target.removeprefix("mailto:")
        if label and label != address:
            self.text(f" ({address})")
        elif not label:
            self.text(address)

    def done(self) -> str:
        text = "".join(self._pieces)
        return "\n".join(line.rstrip(" ") for line in text.split("\n")).strip("\n")
