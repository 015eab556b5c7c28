"""Tracked links and the pixel: an `href` is replaced, nothing else of the mail changes."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from urllib.parse import urlsplit

from headrace.delivery.mail.html_tokens import (
    TokenKind,
    attribute_of,
    insert_after_body_start,
    insert_before_body_end,
    tokenize,
    value_of,
)

#: Of one mail; the links past it stay as authored.
LINKS_MAX = 500
TARGET_CHARACTERS_MAX = 2048

#: What a header `Location` can hold as it is.
_TARGET = re.compile(r"https?://[\x21-\x7e]+", re.IGNORECASE)


def is_trackable(target: str) -> bool:
    """Whether a redirect can lead there: http or https with a host, in printable ASCII."""
    if len(target) > TARGET_CHARACTERS_MAX or _TARGET.fullmatch(target) is None:
        return False
    try:
        parts = urlsplit(target)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def link_targets(text: str, own: str) -> list[str]:
    """The different targets that would be tracked, in order.

    Args:
        text: HTML as it will be sent.
        own: public URL of Headrace; links to it (unsubscribe, preferences) are never tracked.
    """
    targets: dict[str, None] = {}
    for target, _, _, _ in _links(text, own):
        targets.setdefault(target)
        if len(targets) == LINKS_MAX:
            break
    return list(targets)


def rewrite_links(text: str, own: str, tracked: Callable[[str], str | None]) -> str:
    """Replace targets of links.

    Args:
        text: HTML as it will be sent.
        own: as for `link_targets`.
        tracked: the URL for a target; None leaves the link as it is.
    """
    pieces: list[str] = []
    done = 0
    for target, start, end, quote in _links(text, own):
        url = tracked(target)
        if url is None:
            continue
        escaped = html.escape(url, quote=True)
        pieces += (text[done:start], escaped if quote else f'"{escaped}"')
        done = end
    return "".join((*pieces, text[done:]))


def add_pixel(text: str, url: str) -> str:
    """Put the image that tells of an open at the end of the mail."""
    return insert_before_body_end(
        text,
        f'<img src="{html.escape(url, quote=True)}" width="1" height="1" alt=""'
        ' style="border:0;width:1px;height:1px">',
    )


def add_honeypot(text: str, url: str) -> str:
    """Put a link that no person sees before all others; whoever follows it is a machine."""
    return insert_after_body_start(
        text,
        f'<a href="{html.escape(url, quote=True)}" style="display:none;mso-hide:all"'
        ' aria-hidden="true" tabindex="-1"></a>',
    )


def _links(text: str, own: str) -> list[tuple[str, int, int, str]]:
    prefix = own.rstrip("/") + "/"
    found: list[tuple[str, int, int, str]] = []
    for token in tokenize(text):
        if token.kind is not TokenKind.START or token.name not in {"a", "area"}:
            continue
        href = attribute_of(token, "href")
        if href is None or len(found) >= LINKS_MAX:
            continue
        target = value_of(text, href).strip(" \t\r\n\f")
        if is_trackable(target) and not target.startswith(prefix):
            found.append((target, href.start, href.end, href.quote))
    return found
