"""Locked packages have licenses that are allowed, and the check notices others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def check(*locks: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / "check-licenses", *locks],
        capture_output=True,
        text=True,
        check=False,
    )


def test_all_are_allowed() -> None:
    """Those of other environments are checked by `make licenses`."""
    node = (
        path for path in ROOT.glob("tests/**/package-lock.json") if "node_modules" not in path.parts
    )
    done = check(*(ROOT / "requirements" / name for name in ("runtime.txt", "dev.txt")), *node)
    assert done.returncode == 0, done.stdout


def test_what_is_not_on_the_list_is_named(tmp_path: Path) -> None:
    runtime, node = tmp_path / "runtime.txt", tmp_path / "package-lock.json"
    # Of the tests only: its license is not one of those that an installation may have.
    runtime.write_text("hypothesis==1.0\nno-such-package==1.0\nmsgspec==1.0\n", "utf-8")
    node.write_text(
        '{"packages": {"": {}, "node_modules/a": {"license": "(MIT OR GPL-3.0)"}, '
        '"node_modules/b": {"license": "MIT AND GPL-3.0"}, "node_modules/c": {}}}',
        "utf-8",
    )
    done = check(runtime, node)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"{runtime}: hypothesis: MPL-2.0",
        f"{runtime}: no-such-package: not installed here",
        f"{node}: b: MIT AND GPL-3.0",
        f"{node}: c: no license named",
    ]


def test_an_empty_lock_file_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "runtime.txt").write_text("# nothing\n", "utf-8")
    assert check(tmp_path / "runtime.txt").returncode == 1
