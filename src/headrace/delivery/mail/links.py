"""Tracked links and the pixel: an `href` is replaced, nothing else of the mail changes."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from headrace.delivery.mail.html_tokens import (
    TokenKind,
    attribute_of,
    insert_after_body_start,
    insert_before_body_end,
    tokenize,
    value_of,
)

#: Of one mail; further links stay as authored.
LINKS_MAX = 500
TARGET_CHARACTERS_MAX = 2048

#: Characters that a `Location` header can contain unescaped.
_TARGET = re.compile(r"https?://[\x21-\x7e]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Link:
    """A link of a mail: its target, and its position."""

    #: As authored, with character references resolved.
    target: str
    start: int
    end: int
    quoted: bool


def is_trackable(target: str) -> bool:
    """Whether a redirect can lead there: http or https with a host, in printable ASCII."""
    if len(target) > TARGET_CHARACTERS_MAX or _TARGET.fullmatch(target) is None:
        return False
    try:
        parts = urlsplit(target)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def find_links(text: str, own: str) -> tuple[Link, ...]:
    """The links that would be tracked, in order.

    Args:
        text: HTML as it will be sent.
        own: public URL of Headrace; links to it (unsubscribe, preferences) are never tracked.
    """
    prefix = own.rstrip("/") + "/"
    found: list[Link] = []
    for token in tokenize(text):
        if token.name not in {"a", "area"} or token.kind is not TokenKind.START:
            continue
        href = attribute_of(token, "href")
        if href is None:
            continue
        target = value_of(text, href).strip(" \t\r\n\f")
        if is_trackable(target) and not target.startswith(prefix):
            found.append(Link(target, href.start, href.end, quoted=bool(href.quote)))
            if len(found) == LINKS_MAX:
                break
    return tuple(found)


def rewrite_links(text: str, links: Iterable[Link], tracked: Callable[[str], str]) -> str:
    """Replace targets of links.

    Args:
        text: the HTML in which they were found.
        links: from `find_links`.
        tracked: the URL for a target.
    """
    pieces: list[str] = []
    done = 0
    for link in links:
        escaped = html.escape(tracked(link.target), quote=True)
        pieces += (text[done : link.start], escaped if link.quoted else f'"{escaped}"')
        done = link.end
    return "".join((*pieces, text[done:]))


def add_pixel(text: str, url: str) -> str:
    """Add the image that reports an open at the end of the mail."""
    return insert_before_body_end(
        text,
        f'<img src="{html.escape(url, quote=True)}" width="1" height="1" alt=""'
        ' style="border:0;width:1px;height:1px">',
    )


def add_honeypot(text: str, url: str) -> str:
    """Add an invisible link before all others, which only machines follow."""
    return insert_after_body_start(
        text,
        f'<a href="{html.escape(url, quote=True)}" style="display:none;mso-hide:all"'
        ' aria-hidden="true" tabindex="-1"></a>',
    )
