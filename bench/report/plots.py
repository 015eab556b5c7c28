"""Draws charts as inline SVG."""

from __future__ import annotations

import io

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from bench.report.numbers import figure
from bench.results import Bars, Lines

#: Distinguishable by most colour-blind readers (Okabe and Ito).
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
MARKERS = ("o", "s", "^", "D", "v", "P")
INCHES = (8.0, 4.0)
#: Share of a group's width that its bars fill.
FILLED = 0.8


def svg(chart: Bars | Lines, salt: str) -> str:
    """Return the chart as an `<svg>` element; `salt` keeps its ids apart from other charts'."""
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt, "font.size": 9.0}):
        drawing = Figure(figsize=INCHES, layout="constrained")
        axes = drawing.add_subplot()
        if isinstance(chart, Bars):
            _draw_bars(axes, chart)
        else:
            _draw_lines(axes, chart)
        axes.set_title(chart.title, loc="left", fontweight="bold")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        if len(chart.series) > 1:
            drawing.legend(loc="outside lower left", ncols=3, frameon=False)
        text = io.StringIO()
        drawing.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    whole = text.getvalue()
    return whole[whole.index("<svg") :]


def _draw_bars(axes: Axes, chart: Bars) -> None:
    width = FILLED / len(chart.series)
    for number, (name, groups) in enumerate(chart.series.items()):
        offset = (number - (len(chart.series) - 1) / 2) * width
        at = [group + offset for group in range(len(groups))]
        heights = [sorted(rounds)[len(rounds) // 2] for rounds in groups]
        bars = axes.bar(at, heights, width * 0.92, label=name, color=COLOURS[number % 6])
        axes.bar_label(bars, [figure(height) for height in heights], padding=2, fontsize=7)
        for x, rounds in zip(at, groups, strict=True):
            axes.plot([x] * len(rounds), rounds, ".", color="black", markersize=3)
    axes.set_xticks(range(len(chart.groups)), chart.groups)
    axes.set_ylabel(chart.unit)


def _draw_lines(axes: Axes, chart: Lines) -> None:
    for number, (name, values) in enumerate(chart.series.items()):
        drawn = [(x, value) for x, value in enumerate(values) if value is not None]
        axes.plot(
            [x for x, _ in drawn],
            [value for _, value in drawn],
            label=name,
            color=COLOURS[number % 6],
            marker=MARKERS[number % 6],
            markersize=4,
        )
    axes.set_yscale("log")
    axes.set_xticks(range(len(chart.x)), chart.x)
    axes.set_xlabel(chart.x_label)
    axes.set_ylabel(chart.unit)
