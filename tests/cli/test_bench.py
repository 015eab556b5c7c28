"""`headrace bench`."""

import json
from pathlib import Path

from tests.support.server import headrace


def test_a_short_run_reports_what_was_accepted_and_leaves_nothing(tmp_path: Path) -> None:
    run = headrace(
        *("bench", "--seconds", "1", "--connections", "4", "--folder", str(tmp_path), "--json")
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["accepted"] > 0
    assert 0 < found["p50_ms"] <= found["p99_ms"]
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_reported_in_one_line(tmp_path: Path) -> None:
    run = headrace("bench", "--seconds", "1", "--folder", str(tmp_path / "absent"))
    assert run.returncode == 2
    assert "absent" in run.stderr
    assert "Traceback" not in run.stderr
