"""The Jinja2 environment: autoescape, strict undefined, custom filters."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import jinja2
from markupsafe import Markup

from headrace.backoffice.shell.browsers import browser_words
from headrace.backoffice.shell.charts import sparkline, ticks
from headrace.backoffice.shell.json_view import json_view
from headrace.backoffice.shell.masking import masked
from headrace.backoffice.shell.static import static_url
from headrace.domain.ids import uuid_text
from headrace.domain.timestamps import to_text

_AGES = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def render(template: str, context: Mapping[str, Any]) -> str:
    """Render a template of `templates/`."""
    return _ENVIRONMENT.get_template(template).render(context)


def time_element(at_us: int | None, empty: str = "never") -> Markup:
    """`<time>` in UTC; a script converts it to the viewer's zone, with UTC on hover."""
    if at_us is None:
        return Markup('<span class="muted">{}</span>').format(empty)
    text = datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return Markup('<time datetime="{0}" title="{0}">{1} UTC</time>').format(to_text(at_us), text)


def duration(span_us: float | None) -> str:
    """A duration in its two largest units: `1 h 5 min`, `12 ms`."""
    if span_us is None:
        return "-"
    if span_us < 1000:
        return f"{span_us:.0f} µs"
    if span_us < 1_000_000:
        return f"{span_us / 1000:.3g} ms"
    if span_us < 10_000_000:
        return f"{span_us / 1_000_000:.2g} s"
    seconds = int(span_us // 1_000_000)
    parts = []
    for size, unit in _AGES:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def number(value: float) -> str:
    """A number with thin spaces between thousands."""
    text = f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"
    return text.replace(",", "\u202f")


def byte_size(value: float) -> str:
    """A size in the unit that fits."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} TiB"


def _words(value: str) -> str:
    return value.replace("_", " ")


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("headrace.backoffice", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(
        time=time_element,
        duration=duration,
        number=number,
        byte_size=byte_size,
        words=_words,
        masked=masked,
        browser=browser_words,
        json_view=json_view,
        uuid=uuid_text,
    )
    environment.globals.update(static_url=static_url, sparkline=sparkline, ticks=ticks)
    return environment


_ENVIRONMENT = _environment()
