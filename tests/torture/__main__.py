"""`python -m tests.torture --kills 1000`: the long form of the kill test, with a report."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

import msgspec

from tests.torture.report import Report
from tests.torture.run import Torture
from tests.torture.shared_run import SharedTorture

SECONDS_PER_KILL_MAX = 10.0


def text_of(report: Report) -> str:
    """The report for a terminal."""
    found = report.findings
    lines = [
        f"kills                  {report.kills} ({report.kills_while_starting} while starting)",
        f"seconds                {report.seconds}",
        f"events acknowledged    {report.events_acknowledged}",
        f"events stored          {found.stored}",
        f"requests unanswered    {report.requests_unanswered} (each sent again)",
        f"restart, p50 and max   {report.restart_seconds_p50} s, {report.restart_seconds_max} s",
        f"lost                   {found.lost}",
        f"doubled                {found.doubled}",
        f"mismatched ids         {found.mismatched_ids}",
        f"accepted twice         {found.accepted_twice}",
        f"altered                {found.altered}",
        f"invented               {found.invented}",
        f"forgotten              {found.forgotten}",
        f"faults of processing   {found.processing or 0}",
        f"surprising answers     {found.surprises}",
        f"integrity check        {found.integrity}",
        *found.examples,
        f"seed                   {report.seed}",
        "result                 " + ("clean" if found.clean else "FAULTS FOUND"),
    ]
    return "\n".join(lines)


def main() -> int:
    """Run; the exit status shows whether anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000, help="SIGKILLs (default: 1000)")
    parser.add_argument("--seconds", type=float, help="stop after so long (default: 10 per kill)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--command", choices=("serve", "api"), default="serve")
    parser.add_argument("--store", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument(
        "--report",
        type=Path,
        default=Path("build/torture/report.json"),
        help="where the report goes as JSON (default: build/torture/report.json)",
    )
    arguments = parser.parse_args()
    seconds_max = arguments.seconds or arguments.kills * SECONDS_PER_KILL_MAX
    # On the disk of the working directory: the usual place for temporary files is often memory.
    arguments.report.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.report.parent) as folder:
        torture: Torture | SharedTorture = (
            Torture(Path(folder), seed=arguments.seed, command=arguments.command)
            if arguments.store == "sqlite"
            else SharedTorture(Path(folder).resolve(), seed=arguments.seed)
        )
        report = torture.run(arguments.kills, seconds_max)
    arguments.report.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    print(text_of(report))
    return 0 if report.findings.clean else 1


if __name__ == "__main__":
    sys.exit(main())
