"""Charts, rendered on the server as SVG: no script, no inline style, readable without colour.

A chart with axes comes with its numbers as a table, and a small one has a title, for people who
cannot see it or need exact values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec
from markupsafe import Markup

#: In SVG units; the stylesheet stretches them to the available width.
WIDTH, HEIGHT = 960, 160
_SPARK_WIDTH, _SPARK_HEIGHT = 120, 28
_TICK_KINDS = {"delivered": "good", "dead_lettered": "bad", "retrying": "warn"}

Shown = Callable[[float], str]


class Series(msgspec.Struct, frozen=True):
    """Values over time, oldest first."""

    words: str
    #: Class that sets the colour: good, warn, bad, info, quiet, accent.
    colour: str
    #: None: nothing was measured.
    values: Sequence[float | None]


class Chart(msgspec.Struct, frozen=True):
    """A plot with its labels."""

    title: str
    svg: Markup
    series: Sequence[Series]
    #: Start of each slot, as text.
    labels: Sequence[str]
    #: Labels of the value axis, from the top down.
    axis: Sequence[str]
    #: One sentence that describes the chart to people who cannot see it.
    summary: str
    shown: Shown
    empty: bool

    @property
    def ends(self) -> Sequence[str]:
        """First, middle and last label."""
        middle = self.labels[len(self.labels) // 2]
        return f"{self.labels[0]} UTC", f"{middle} UTC", "now"

    @property
    def rows(self) -> list[tuple[str, list[str]]]:
        """Indexes of non-empty slots."""
        rows = []
        for index, label in enumerate(self.labels):
            values = [series.values[index] for series in self.series]
            if any(values):
                rows.append((label, ["-" if v is None else self.shown(v) for v in values]))
        return rows


def bar_chart(
    title: str, series: Sequence[Series], labels: Sequence[str], summary: str, shown: Shown
) -> Chart:
    """Stacked bars."""
    sums = [sum(s.values[i] or 0 for s in series) for i in range(len(labels))]
    top = round_up(max(sums, default=0))
    slot = WIDTH / max(len(labels), 1)
    gap = min(2.0, slot * 0.25)
    marks = [_grid()]
    for index, label in enumerate(labels):
        base = float(HEIGHT)
        for one in series:
            value = one.values[index] or 0
            tall = value / top * HEIGHT if top else 0
            if tall <= 0:
                continue
            # A value above zero has to be visible, however small.
            tall = max(tall, 1.0)
            base -= tall
            marks.append(
                Markup(
                    '<rect class="{}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>'
                ).format(
                    one.colour,
                    f"{index * slot:.1f}",
                    f"{max(base, 0):.1f}",
                    f"{slot - gap:.1f}",
                    f"{tall:.1f}",
                    f"{label}: {shown(value)} {one.words}",
                )
            )
    axis = [shown(top), shown(top / 2), "0"] if top else ["", "", "0"]
    svg = _svg(f"{title}. {summary}", marks)
    return Chart(title, svg, series, labels, axis, summary, shown, not any(sums))


def line_chart(
    title: str, series: Sequence[Series], labels: Sequence[str], summary: str, shown: Shown
) -> Chart:
    """Lines on a logarithmic scale, broken where nothing was measured."""
    found = [value for one in series for value in one.values if value]
    low = 10 ** math.floor(math.log10(min(found))) if found else 1
    high = 10 ** math.ceil(math.log10(max(found) * 1.0001)) if found else 10
    decades = max(math.log10(high / low), 1)

    def place(index: int, value: float) -> str:
        x = (index + 0.5) * WIDTH / len(labels)
        y = HEIGHT - math.log10(max(value, low) / low) / decades * HEIGHT
        return f"{x:.1f} {min(max(y, 1), HEIGHT - 1):.1f}"

    line = Markup('<path class="line {}" d="{}"/>')
    marks = [_grid(), *(line.format(one.colour, _path(one.values, place)) for one in series)]
    middle = low * 10 ** (decades / 2)
    axis = [shown(high), shown(middle), shown(low)] if found else ["", "", ""]
    svg = _svg(f"{title}. {summary}", marks)
    return Chart(title, svg, series, labels, axis, summary, shown, not found)


def _path(values: Sequence[float | None], place: Callable[[int, float], str]) -> str:
    parts: list[str] = []
    run: list[str] = []
    for index, value in enumerate([*values, None]):
        if value is not None:
            run.append(place(index, value))
        elif run:
            # A single point is drawn as a dot: a zero-length line with round ends.
            parts.append("M" + "L".join(run if len(run) > 1 else run * 2))
            run = []
    return "".join(parts)


def round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, ..., for round axis labels."""
    if value <= 0:
        return 0
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if value <= step * power * 1.0001)


def _grid() -> Markup:
    lines = "".join(f"M0 {y}H{WIDTH}" for y in (0.5, HEIGHT / 2, HEIGHT - 0.5))
    return Markup('<path class="grid-line" d="{}"/>').format(lines)


def _svg(label: str, marks: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg class="chart-marks" role="img" aria-label="{}" viewBox="0 0 {} {}" '
        'preserveAspectRatio="none">{}</svg>'
    ).format(label, WIDTH, HEIGHT, Markup("").join(marks))


def sparkline(values: Sequence[float], title: str) -> Markup:
    """A line over time, the newest value at the right."""
    if not values or max(values) <= 0:
        line = f"M0 {_SPARK_HEIGHT - 1}H{_SPARK_WIDTH}"
        return _small_svg("spark", title, Markup('<path class="flat" d="{}"/>').format(line))
    top = max(values)
    step = _SPARK_WIDTH / max(len(values) - 1, 1)
    points = [
        f"{index * step:.1f} {_SPARK_HEIGHT - 2 - (value / top) * (_SPARK_HEIGHT - 4):.1f}"
        for index, value in enumerate(values)
    ]
    line = "M" + "L".join(points)
    area = f"{line}L{_SPARK_WIDTH} {_SPARK_HEIGHT}L0 {_SPARK_HEIGHT}Z"
    marks = Markup('<path class="area" d="{}"/><path class="line" d="{}"/>').format(area, line)
    return _small_svg("spark", title, marks)


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
    drawn = _small_svg("ticks", title, marks, width=len(statuses) * 6, height=18)
    return Markup('{}<span class="muted"> {}/{}</span>').format(drawn, good, len(statuses))


def _small_svg(
    name: str, title: str, marks: Markup, *, width: int = _SPARK_WIDTH, height: int = _SPARK_HEIGHT
) -> Markup:
    return Markup(
        '<svg class="{0}" role="img" aria-label="{1}" viewBox="0 0 {2} {3}" width="{2}" '
        'height="{3}" preserveAspectRatio="none"><title>{1}</title>{4}</svg>'
    ).format(name, title, width, height, marks)
