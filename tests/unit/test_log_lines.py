"""Log records of libraries appear in Headrace's own format."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import asyncio, logging
from headrace.observability.logs import configure_logs

configure_logs("info", "json")
try:
    raise OSError("reset by peer\\nand more")
except OSError:
    logging.getLogger("asyncpg.pool").warning("Failed to restore", exc_info=True)

async def main():
    async def fail():
        raise ValueError("nobody waits for this")
    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    del task

asyncio.run(main())
logging.getLogger("asyncio").info("nothing to worry about")
"""


def test_a_warning_of_a_library_is_one_line_without_a_trace() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(line["event"], line["library"], line["error"]) for line in lines] == [
        ("library.warned", "asyncpg.pool", "Failed to restore: OSError: reset by peer\nand more"),
        (
            "library.warned",
            "asyncio",
            "Task exception was never retrieved: ValueError: nobody waits for this",
        ),
    ]
