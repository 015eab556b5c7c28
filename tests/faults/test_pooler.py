"""Nodes behind a pooler that gives every transaction another session."""

from __future__ import annotations

from pathlib import Path

from tests.faults.shared import EVENTS, own_place, run
from tests.support.pgbouncer import pgbouncer
from tests.torture.nodes import Nodes

POOLED = {"HEADRACE_POSTGRES_STATEMENTS_KEPT": "0"}


def test_nodes_work_behind_a_pooler_of_transactions(tmp_path: Path) -> None:
    with own_place() as place, pgbouncer(place.server, tmp_path) as port:

        async def two_of_each(nodes: Nodes) -> None:
            for _ in range(2):
                await nodes.add_api(environment=POOLED)
                await nodes.add_worker(environment=POOLED)

        async def fault(nodes: Nodes) -> None:
            await nodes.kill_api(0)
            await nodes.acknowledged(EVENTS)

        url = place.url.replace(f":{place.server.port}/", f":{port}/")
        run(place, tmp_path, fault, url=url, prepare=two_of_each)
