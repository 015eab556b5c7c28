"""Splits HTML into tags, texts and comments without changing it, in linear time.

It covers only the grammar that links, texts and inserted parts need. Unterminated constructs (an
attribute or comment that never ends) become one last piece of text, up to the end.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple


class TokenKind(StrEnum):
    """Kind of a piece of HTML."""

    TEXT = "text"
    START = "start"
    END = "end"
    #: Comments, declarations and processing instructions.
    COMMENT = "comment"
    #: Content of elements without markup: style, script, title, textarea.
    RAW = "raw"


class Attribute(NamedTuple):
    """One attribute of a start tag; `start` and `end` enclose its value without quotes."""

    name: str
    start: int
    end: int
    quote: str


class Token(NamedTuple):
    """One piece; positions are in the whole text."""

    kind: TokenKind
    start: int
    end: int
    #: Lower case; for `RAW` the element it is in.
    name: str = ""
    attributes: tuple[Attribute, ...] = ()


#: Elements without content.
VOID = frozenset(
    "area base br col embed hr img input link meta param source track wbr".split()  # noqa: SIM905 - reads as HTML's own list
)
_RAW_ELEMENTS = frozenset({"style", "script", "title", "textarea", "xmp", "iframe", "noembed"})
_TAG_NAME = re.compile(r"</?([a-zA-Z][^\s/>]*+)")
_ATTRIBUTE = re.compile(
    r"""[\s/]*+(?P<name>[^\s/>=][^\s/>=]*+)
        (?:\s*+=\s*+(?:"(?P<double>[^"]*+)"|'(?P<single>[^']*+)'|(?P<bare>[^\s>"'][^\s>]*+)))?+""",
    re.VERBOSE,
)
_TAG_END = re.compile(r"[\s/]*+>")
_BODY_END = re.compile(r"</body[\s>]", re.IGNORECASE)
_OPEN_QUOTE = re.compile(r"\s*+=\s*+[\"']")


def tokenize(text: str) -> Iterator[Token]:
    """The pieces of HTML in order; together they are the whole text."""
    at = done = 0
    while (at := text.find("<", at)) >= 0:
        token = _markup(text, at)
        if token is None:
            at += 1
            continue
        if at > done:
            yield Token(TokenKind.TEXT, done, at)
        yield token
        at = done = token.end
        if token.kind is TokenKind.START and token.name in _RAW_ELEMENTS:
            close = re.compile(rf"</{token.name}(?=[\s/>])", re.IGNORECASE).search(text, at)
            at = done = close.start() if close else len(text)
            if done > token.end:
                yield Token(TokenKind.RAW, token.end, done, token.name)
    if done < len(text):
        yield Token(TokenKind.TEXT, done, len(text))


def value_of(text: str, attribute: Attribute) -> str:
    """The value of an attribute with its character references resolved."""
    return html.unescape(text[attribute.start : attribute.end])


def attribute_of(token: Token, name: str) -> Attribute | None:
    """The first attribute of that name, as in browsers."""
    return next((one for one in token.attributes if one.name == name), None)


def insert_after_body_start(text: str, added: str) -> str:
    """Insert HTML at the beginning of the body."""
    at = 0
    for token in tokenize(text):
        if token.kind is TokenKind.START and token.name == "body":
            return text[: token.end] + added + text[token.end :]
        if token.kind is TokenKind.END and token.name == "head":
            at = token.end
    if at == 0:
        at = _after_preamble(text)
    return text[:at] + added + text[at:]


def insert_before_body_end(text: str, added: str) -> str:
    """Insert HTML at the end of the body."""
    # Searched from the end: mails are long, and the text after it is short.
    ends = [found.start() for found in _BODY_END.finditer(text)]
    at = ends[-1] if ends else len(text)
    return text[:at] + added + text[at:]


def _after_preamble(text: str) -> int:
    """After a doctype and the start of `html`: before them, browsers would use quirks mode."""
    at = 0
    for token in tokenize(text):
        if token.kind is TokenKind.TEXT and not text[token.start : token.end].strip():
            continue
        if token.kind is TokenKind.COMMENT or (
            token.kind is TokenKind.START and token.name == "html"
        ):
            at = token.end
            continue
        break
    return at


def _markup(text: str, at: int) -> Token | None:
    """The tag or comment that begins at `<`; None when there is none."""
    following = text[at + 1 : at + 2]
    if following in {"!", "?"}:
        return _comment(text, at)
    match = _TAG_NAME.match(text, at)
    if match is None:
        return None
    name = match[1].lower()
    at_end = match.end()
    attributes: list[Attribute] = []
    while (end := _TAG_END.match(text, at_end)) is None:
        found = _ATTRIBUTE.match(text, at_end)
        if found is None or (found.lastgroup == "name" and _OPEN_QUOTE.match(text, found.end())):
            # An unterminated quote or tag: browsers drop the rest, so nothing is read from it.
            return Token(TokenKind.TEXT, at, len(text))
        attributes.append(_attribute(found))
        at_end = max(found.end(), at_end + 1)
        if found.lastgroup == "name" and text[at_end : at_end + 1] == "=":
            at_end += 1
    closing = following == "/"
    return Token(
        TokenKind.END if closing else TokenKind.START,
        at,
        end.end(),
        name,
        () if closing else tuple(attributes),
    )


def _attribute(found: re.Match[str]) -> Attribute:
    name = found["name"].lower()
    for group, quote in (("double", '"'), ("single", "'"), ("bare", "")):
        if found[group] is not None:
            return Attribute(name, found.start(group), found.end(group), quote)
    return Attribute(name, found.end(), found.end(), "")


def _comment(text: str, at: int) -> Token:
    if text.startswith("<!--", at):
        end = text.find("-->", at + 2)
        return Token(TokenKind.COMMENT, at, len(text) if end < 0 else end + 3)
    end = text.find(">", at)
    return Token(TokenKind.COMMENT, at, len(text) if end < 0 else end + 1)
