"""Small plots as inline SVG, drawn here: no script, no inline style, readable without colour.

Every plot has a title for those who cannot see it.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

_WIDTH = 120
_HEIGHT = 28


def sparkline(values: Sequence[float], title: str) -> Markup:
    """A line over time, the newest value at the right."""
    if not values or max(values) <= 0:
        line = f"M0 {_HEIGHT - 1}H{_WIDTH}"
        return _svg("spark", title, Markup('<path class="flat" d="{}"/>').format(line))
    top = max(values)
    step = _WIDTH / max(len(values) - 1, 1)
    points = [
        f"{index * step:.1f} {_HEIGHT - 2 - (value / top) * (_HEIGHT - 4):.1f}"
        for index, value in enumerate(values)
    ]
    line = "M" + "L".join(points)
    area = f"{line}L{_WIDTH} {_HEIGHT}L0 {_HEIGHT}Z"
    marks = Markup('<path class="area" d="{}"/><path class="line" d="{}"/>').format(area, line)
    return _svg("spark", title, marks)


def bars(
    series: Sequence[tuple[str, Sequence[float]]],
    title: str,
    *,
    width: int = 720,
    height: int = 160,
) -> Markup:
    """Stacked bars over time: `(class of the colour, values)` from the bottom up.

    Classes: `good`, `warn`, `bad`, `info`, `quiet`.
    """
    count = max((len(values) for _, values in series), default=0)
    sums = [sum(values[i] for _, values in series if i < len(values)) for i in range(count)]
    top = max(sums, default=0) or 1
    slot = width / max(count, 1)
    gap = min(2.0, slot * 0.2)
    marks = []
    for index in range(count):
        base = float(height)
        for name, values in series:
            tall = (values[index] / top) * (height - 6) if index < len(values) else 0.0
            if tall <= 0:
                continue
            base -= tall
            marks.append(
                Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>').format(
                    name, f"{index * slot:.2f}", f"{base:.2f}", f"{slot - gap:.2f}", f"{tall:.2f}"
                )
            )
    floor = Markup('<path class="flat" d="M0 {}H{}"/>').format(height - 0.5, width)
    return _svg("plot", title, floor + Markup("").join(marks), width=width, height=height)


_TICK_KINDS = {"delivered": "good", "dead_lettered": "bad", "retrying": "warn"}


def ticks(statuses: Sequence[str]) -> Markup:
    """The last deliveries as small marks, the newest at the right; `statuses` newest first."""
    if not statuses:
        return Markup('<span class="muted">none yet</span>')
    good = sum(status == "delivered" for status in statuses)
    marks = Markup("").join(
        Markup('<rect class="{}" x="{}" y="2" width="4" height="14" rx="1"/>').format(
            _TICK_KINDS.get(status, "info"), index * 6
        )
        for index, status in enumerate(reversed(statuses))
    )
    title = f"{good} of the last {len(statuses)} delivered"
    drawn = _svg("ticks", title, marks, width=len(statuses) * 6, height=18)
    return Markup('{}<span class="muted"> {}/{}</span>').format(drawn, good, len(statuses))


def _svg(
    name: str, title: str, marks: Markup, *, width: int = _WIDTH, height: int = _HEIGHT
) -> Markup:
    return Markup(
        '<svg class="{0}" role="img" aria-label="{1}" viewBox="0 0 {2} {3}" width="{2}" '
        'height="{3}" preserveAspectRatio="none"><title>{1}</title>{4}</svg>'
    ).format(name, title, width, height, marks)
