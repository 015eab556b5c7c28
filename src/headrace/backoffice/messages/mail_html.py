"""HTML of mails as pages show it: looking is no open, and nothing in it leads away.

What keeps a mail harmless is the frame it stands in (`content_policy.MAIL`). This takes out what
would count as an open or a click, and what the frame would refuse and report.
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

#: Attributes that make a browser ask another server, at once or when something is pressed.
_REQUESTS = frozenset(
    {"src", "srcset", "background", "poster", "data", "href", "xlink:href"}
    | {"action", "formaction", "ping", "target"}
)
#: Elements that do nothing there, or that browsers report when the frame refuses them.
_DROPPED = frozenset({"script", "base", "meta", "link", "iframe", "object", "embed"})
_INLINE = "data:image/"
_TAG = re.compile("</?[a-zA-Z]")
_DOCTYPE = re.compile("<!doctype", re.IGNORECASE)


def quiet(text: str) -> str:
    """The same HTML without requests and scripts; where a link would lead stands in its title."""
    pieces: list[str] = []
    for token in tokenize(text):
        if token.name in _DROPPED and token.kind is not TokenKind.TEXT:
            continue
        if token.kind is TokenKind.COMMENT and not _DOCTYPE.match(text, token.start):
            continue
        if token.kind is TokenKind.TEXT and _TAG.match(text, token.start):
            # A tag that never ends: browsers drop it, and so all that follows.
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
        # Looks like a link, leads nowhere. The first of two titles counts.
        kept[:0] = [("href", "#"), ("title", value_of(text, link))]
    written = "".join(f' {name}="{html.escape(value, quote=True)}"' for name, value in kept)
    return f"<{token.name}{written}>"


def _stays(text: str, attribute: Attribute) -> bool:
    if attribute.name.startswith("on"):
        return False
    if attribute.name not in _REQUESTS:
        return True
    return attribute.name == "src" and value_of(text, attribute).strip().lower().startswith(_INLINE)
