"""Names of events: what people write becomes a name that Headrace accepts."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from hashlib import sha256

from headrace.domain.events.fields import is_event_name, is_reserved

#: Shorter than the limit of a name, so that a prefix still fits.
SLUG_CHARACTERS_MAX = 190
#: Put before names of system events.
PREFIX = "x."
#: Characters of a name that are read; the rest cannot matter.
_READ_CHARACTERS_MAX = 1000
#: Longer names are rare, and would fill the cache.
_CACHED_CHARACTERS_MAX = 100

_OTHERS = re.compile(r"[^a-z0-9_.]+")
_AROUND_DOT = re.compile(r"_*\.[_.]*")
_UNDERSCORES = re.compile(r"__+")


def event_name(text: str) -> str:
    """The event name of a text; the same text always gives the same name.

    >>> event_name("Invoice Paid (EU)")
    'invoice_paid_eu'
    >>> event_name("order.completed")
    'order.completed'
    """
    if len(text) <= _CACHED_CHARACTERS_MAX:
        return _cached(text)
    return _event_name(text)


def _event_name(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text[:_READ_CHARACTERS_MAX])
    slug = _OTHERS.sub("_", plain.encode("ascii", "ignore").decode().lower())
    slug = _UNDERSCORES.sub("_", _AROUND_DOT.sub(".", slug)).strip("_.")
    slug = slug[:SLUG_CHARACTERS_MAX].rstrip("_.")
    if not slug:
        # Names in other scripts must not become one.
        return f"event_{sha256(text.encode('utf-8', 'replace')).hexdigest()[:8]}"
    name = PREFIX + slug if is_reserved(slug) else slug
    assert is_event_name(name)
    return name


_cached = lru_cache(maxsize=4096)(_event_name)
