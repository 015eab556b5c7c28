"""What the dashboard asks Prometheus. As a program: the same as a file of rules, for promtool."""

from __future__ import annotations

import json
import sys
from typing import Any

import yaml

from tests.deploy.conftest import DEPLOY

#: Variables of Grafana, with something that a parser of PromQL takes.
_VARIABLES = {"$__rate_interval": "5m", "$job": "headrace"}


def panels() -> list[dict[str, Any]]:
    """Panels without the headings of rows."""
    document = json.loads((DEPLOY / "grafana" / "headrace.json").read_text("utf-8"))
    return [panel for panel in document["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    """Every query, with values for its variables."""
    found = [target["expr"] for panel in panels() for target in panel["targets"]]
    for name, value in _VARIABLES.items():
        found = [one.replace(name, value) for one in found]
    return found


def main() -> None:
    """Print a recording rule for each query."""
    rules = [{"record": f"panel:{n}", "expr": one} for n, one in enumerate(expressions())]
    yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}, sys.stdout)


if __name__ == "__main__":
    main()
