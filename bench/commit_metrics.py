"""Reads from `/metrics` how large the commits of a running service are."""

from __future__ import annotations

import urllib.request
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from bench.processes import HOST

EVENTS = "headrace_commit_events_sum"
COMMITS = "headrace_commit_events_count"
READ_WITHIN_S = 5


class Commits(NamedTuple):
    """Totals since the server's start."""

    events: float
    commits: float

    def events_each_since(self, earlier: Commits) -> float:
        """Mean size of the commits made since `earlier`."""
        return (self.events - earlier.events) / (self.commits - earlier.commits)


def read_commits(port: int) -> Commits:
    """Ask the server for its totals.

    Raises:
        LookupError: the server does not report them.
    """
    with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=READ_WITHIN_S) as answer:
        text = answer.read().decode()
    samples = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    try:
        return Commits(samples[EVENTS], samples[COMMITS])
    except KeyError as missing:
        raise LookupError(f"/metrics has no {missing}") from missing
