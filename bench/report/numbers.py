"""Formats figures, the same on the terminal and on the page."""

from __future__ import annotations

from bench.results import Better, Comparison


def figure(value: float) -> str:
    """Three significant digits, or whole numbers from a hundred up."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}"


def with_unit(value: float, unit: str) -> str:
    """A figure and its unit, if it has one."""
    return f"{figure(value)} {unit}".rstrip()


def limit(comparison: Comparison, value: float) -> str:
    """A bar or a goal, with its direction."""
    sign = "≥" if comparison.better is Better.HIGHER else "≤"
    return f"{sign} {value:g} {comparison.unit}".rstrip()


def spread(rounds: tuple[float, ...]) -> str:
    """Every round, in the order they were taken."""
    return " · ".join(figure(value) for value in rounds)
