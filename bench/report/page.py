"""Makes the page: one self-contained file."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench.report import numbers
from bench.report.plots import svg
from bench.results import Report


def page(report: Report) -> str:
    """Return the whole page as text."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    charts = {
        scenario.name: [
            # Drawn here from the figures of the run.
            Markup(svg(chart, f"{scenario.name}-{number}"))  # noqa: S704
            for number, chart in enumerate(scenario.outcome.charts)
        ]
        for scenario in report.scenarios
    }
    template = environment.get_template("page.html.jinja")
    return template.render(report=report, charts=charts, numbers=numbers)
