"""HTML of mails for display: viewing counts as no open, and no link works.

The frame's content policy makes a mail harmless (`content_policy.MAIL`). This module removes what
would count as an open or a click, and what the frame would block and report.
"""

from __future__ import annotations

import html
import re

from headrace.delivery.mail.html_tokens import (
    Attribute,
    Token,
    TokenKind,
    attribute_of,
    tokenize,
    value_of,
)

#: Attributes that make a browser send a request, on load or on a click.
_REQUESTS = frozenset(
    {"src", "srcset", "background", "poster", "data", "href", "xlink:href"}
    | {"action", "formaction", "ping", "target"}
)
#: Elements that have no effect there, or that browsers report when the frame blocks them.
_DROPPED = frozenset({"script", "base", "meta", "link", "iframe", "object", "embed"})
_INLINE = "data:image/"
_TAG = re.compile("</?[a-zA-Z]")
_DOCTYPE = re.compile("<!doctype", re.IGNORECASE)


def quiet(text: str) -> str:
    """The same HTML without requests and scripts; the title of a link shows its target."""
    pieces: list[str] = []
    for token in tokenize(text):
        if token.name in _DROPPED and token.kind is not TokenKind.TEXT:
            continue
        if token.kind is TokenKind.COMMENT and not _DOCTYPE.match(text, token.start):
            continue
        if token.kind is TokenKind.TEXT and _TAG.match(text, token.start):
            # An unclosed tag: browsers drop it with everything after it.
            break
        if token.kind is TokenKind.START:
            pieces.append(_start_tag(text, token))
        else:
            pieces.append(text[token.start : token.end])
    return "".join(pieces)


def _start_tag(text: str, token: Token) -> str:
    kept = [(each.name, value_of(text, each)) for each in token.attributes if _stays(text, each)]
    link = attribute_of(token, "href")
    if link is not None and token.name in {"a", "area"}:
        # Looks like a link but has no target. Of two titles the first counts.
        kept[:0] = [("href", "#"), ("title", value_of(text, link))]
    written = "".join(f' {name}="{html.escape(value, quote=True)}"' for name, value in kept)
    return f"<{token.name}{written}>"


def _stays(text: str, attribute: Attribute) -> bool:
    if attribute.name.startswith("on"):
        return False
    if attribute.name not in _REQUESTS:
        return True
    return attribute.name == "src" and value_of(text, attribute).strip().lower().startswith(_INLINE)
