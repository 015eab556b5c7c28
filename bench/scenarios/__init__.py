"""One file for each question; every file offers one `SCENARIO`."""

from __future__ import annotations

from bench.scenario import Scenario
from bench.scenarios import (
    accept,
    automations,
    backlog,
    batch,
    contacts,
    deliveries,
    footprint,
    large_store,
    latency,
    mail,
    pages,
    processed,
    push,
    retention,
    scaling,
    snapshot,
    worker,
)

#: In the order in which a whole run takes them.
SCENARIOS: tuple[Scenario, ...] = (
    accept.SCENARIO,
    batch.SCENARIO,
    latency.SCENARIO,
    worker.SCENARIO,
    processed.SCENARIO,
    backlog.SCENARIO,
    deliveries.SCENARIO,
    mail.SCENARIO,
    automations.SCENARIO,
    push.SCENARIO,
    retention.SCENARIO,
    footprint.SCENARIO,
    large_store.SCENARIO,
    pages.SCENARIO,
    contacts.SCENARIO,
    scaling.SCENARIO,
    snapshot.SCENARIO,
)
