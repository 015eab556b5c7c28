"""Masks personal data: recognisable, but not usable."""

from __future__ import annotations

_HIDDEN = "•••"


def masked(value: object) -> str:
    """`ann@example.org` becomes `a•••@e•••.org`; other text keeps its first character."""
    text = str(value)
    name, separator, domain = text.rpartition("@")
    if separator and name and domain:
        host, dot, ending = domain.rpartition(".") if "." in domain else (domain, "", "")
        return f"{name[:1]}{_HIDDEN}@{host[:1]}{_HIDDEN}{dot}{ending}"
    return f"{text[:1]}{_HIDDEN}" if text else ""
