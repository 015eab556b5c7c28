"""How PostgreSQL would run a statement."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import asyncpg

Step = dict[str, Any]
_PARTITION = re.compile(r"^(events|event_states)_\d+")


def explain(url: str, sql: str, values: str, mode: str) -> list[Step]:
    """Steps of the plan, the outermost first.

    Args:
        values: of the parameters, as SQL with commas.
        mode: `plan_cache_mode` of the server.
    """

    async def ask() -> str:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(f"SET plan_cache_mode = {mode}; PREPARE asked AS {sql}")
            execute = f"EXECUTE asked ({values})" if values else "EXECUTE asked"
            return str(await connection.fetchval(f"EXPLAIN (FORMAT JSON) {execute}"))
        finally:
            await connection.close()

    return list(steps_of(json.loads(asyncio.run(ask()))[0]["Plan"]))


def steps_of(plan: Step) -> Iterator[Step]:
    """A plan and all below it, the outermost first.

    An index of the first partition has the name of the index of the whole table; `Table` is the
    name of the partition itself.
    """
    names = {"Index Name", "Relation Name"} & plan.keys()
    renamed = {name: _PARTITION.sub(r"\1", plan[name]) for name in names}
    yield plan | renamed | ({"Table": plan["Relation Name"]} if "Relation Name" in plan else {})
    for child in plan.get("Plans", ()):
        yield from steps_of(child)
