"""How PostgreSQL would run a statement."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import asyncpg

Step = dict[str, Any]


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
    """A plan and all below it, the outermost first."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from steps_of(child)
