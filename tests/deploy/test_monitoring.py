"""Dashboard and alerts ask only for what a running server exposes."""

from __future__ import annotations

import contextlib
import re
import urllib.error
import urllib.request
from itertools import pairwise

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.deploy.conftest import DEPLOY
from tests.deploy.dashboard import expressions, panels
from tests.support.server import RunningServer
from tests.support.waiting import wait_until

#: Added by Prometheus itself.
OWN = {"up"}
_SAMPLES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
_NAME = re.compile(r"\b(?:headrace|process)_[a-z_]+\b")
_MATCHERS = re.compile(r"\b((?:headrace|process)_[a-z_]+|up)\{([^}]*)\}")


def rules() -> list[dict[str, object]]:
    document = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text("utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


@pytest.fixture(scope="module")
def exposed(server: RunningServer) -> dict[str, set[str]]:
    """Names of samples with their labels, once retention has run and a request was rejected."""
    with contextlib.suppress(urllib.error.HTTPError):
        server.ask("/events", {"event": "Not A Name"})

    def scrape() -> str:
        with urllib.request.urlopen(f"{server.url}/metrics", timeout=20) as answer:  # noqa: S310
            text: str = answer.read().decode()
            return text

    wait_until(lambda: "headrace_retention_lag_seconds" in scrape(), "a sweep of retention")
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(scrape()):
        # Of a counter without samples the parser keeps the ending in its name.
        name = family.name.removesuffix("_total")
        for ending in _SAMPLES.get(family.type, ("",)):
            labels = {label for sample in family.samples for label in sample.labels}
            found[name + ending] = labels
    return found


def test_the_dashboard_asks_for_metrics_that_exist(exposed: dict[str, set[str]]) -> None:
    for expression in expressions():
        named = set(_NAME.findall(expression))
        assert named, expression
        assert named <= exposed.keys(), expression


def test_alerts_ask_for_metrics_that_exist(exposed: dict[str, set[str]]) -> None:
    for rule in rules():
        named = set(_NAME.findall(str(rule["expr"])))
        assert named <= exposed.keys(), rule["alert"]
        assert named or "up{" in str(rule["expr"]), rule["alert"]


def test_labels_that_are_matched_exist(exposed: dict[str, set[str]]) -> None:
    """Of metrics that have samples; `job` and `instance` come from Prometheus."""
    for expression in (*expressions(), *(str(rule["expr"]) for rule in rules())):
        for name, matchers in _MATCHERS.findall(expression):
            labels = {re.split("[=!]", part)[0].strip() for part in matchers.split(",") if part}
            known = exposed.get(name, set()) | {"job", "instance"}
            assert labels <= known or name == "headrace_delivery_attempts_total", expression


def test_every_alert_says_what_to_do() -> None:
    found = rules()
    assert len({rule["alert"] for rule in found}) == len(found)
    for rule in found:
        annotations, labels = rule["annotations"], rule["labels"]
        assert isinstance(annotations, dict)
        assert annotations.keys() == {"summary", "description"}
        assert labels in ({"severity": "warning"}, {"severity": "critical"})


def test_panels_do_not_overlap() -> None:
    found = panels()
    assert len({panel["id"] for panel in found}) == len(found)
    places = sorted((panel["gridPos"]["y"], panel["gridPos"]["x"]) for panel in found)
    sizes = {(p["gridPos"]["y"], p["gridPos"]["x"]): p["gridPos"] for p in found}
    for (y, x), (next_y, next_x) in pairwise(places):
        size = sizes[y, x]
        assert next_y >= y + size["h"] if next_y != y else next_x >= x + size["w"]
        assert x + size["w"] <= 24
