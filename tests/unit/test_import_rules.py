"""The import contracts of pyproject.toml: they hold, and each fails when violated."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT = Path(sys.executable).with_name("lint-imports")
UNDER_TYPE_CHECKING = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the package for a test to modify."""
    ignored = shutil.ignore_patterns("__pycache__", "*.sql", "*.html", "*.css", "*.js", "*.svg")
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=ignored)
    return tmp_path / "src" / "headrace"


def lint(source: Path) -> subprocess.CompletedProcess[str]:
    command = [str(LINT), "--no-cache", "--config", str(ROOT / "pyproject.toml")]
    env = {**os.environ, "PYTHONPATH": str(source.parent), "COLUMNS": "200"}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("domain/labels.py", "import asyncio", "The domain is pure"),
        ("domain/labels.py", "import headrace.store.contract.events", "Edges over pipeline"),
        ("pipeline/trace/entry.py", "import headrace.http.server.head", "Edges over pipeline"),
        ("store/access/keys.py", "import headrace.store.events.events", "A store is put together"),
        (
            "store/queues/sqlite/claims.py",
            "import headrace.store.engine.postgres.errors",
            "SQLite does not know PostgreSQL",
        ),
        (
            "http/server/head.py",
            f"{UNDER_TYPE_CHECKING}import headrace.http.server.connection",
            "No two siblings import each other",
        ),
        (
            "delivery/mail/mime.py",
            "import headrace.delivery.webhook.transport",
            "Channels of delivery",
        ),
        ("cli/events/tail.py", "import headrace.store.sqlite", "The command line reaches"),
    ],
)
def test_breaking_a_rule_fails(source: Path, module: str, line: str, contract: str) -> None:
    path = source / module
    path.write_text(f"{path.read_text()}\n{line}\n")

    result = lint(source)

    assert result.returncode == 1, result.stdout
    broken = [each for each in result.stdout.splitlines() if " BROKEN" in each]
    assert any(each.startswith(contract) for each in broken), result.stdout


def test_a_new_package_needs_a_layer(source: Path) -> None:
    (source / "store" / "invented.py").write_text("")

    result = lint(source)

    assert result.returncode == 1
    assert "headrace.store.invented" in result.stdout
