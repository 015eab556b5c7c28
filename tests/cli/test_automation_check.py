"""`headrace automation check`: checks a definition without store or server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from headrace.cli.application import app
from tests.support.definitions import chain, step
from tests.support.server import headrace

EXAMPLES = Path(__file__).parents[2] / "examples"


def written(tmp_path: Path, value: Any) -> str:
    path = tmp_path / "automation.json"
    path.write_text(json.dumps(value), "utf-8")
    return str(path)


def test_an_example_can_be_published() -> None:
    done = headrace("automation", "check", str(EXAMPLES / "welcome-series.json"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "'Welcome series' can be published: 5 steps, no problems." in done.stdout


def test_every_problem_is_a_line_and_the_end_is_1(tmp_path: Path) -> None:
    value = chain(step("a", "delay", seconds=0), step("b", "send_push_template", app_id="x"))
    done = headrace("automation", "check", written(tmp_path, value))
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        (
            "problem    steps[0].config.seconds (step a): must be a whole number "
            "from 1 to 31536000, got 0 [out_of_range]"
        ),
        (
            "problem    steps[1].config.template_version_id (step b): is required: exactly one of "
            "template_version_id and template [missing]"
        ),
    ]
    assert done.stderr == "headrace: 2 problems keep the automation from being published.\n"


def test_json_has_codes_and_paths(tmp_path: Path) -> None:
    value = {"name": "A", "definition": chain(step("a", "delay", duration_seconds=60), x=1)}
    done = CliRunner().invoke(app, ["automation", "check", written(tmp_path, value), "--json"])
    assert done.exit_code == 1
    shown = json.loads(done.stdout)
    assert shown["ok"] is False
    assert shown["name"] == "A"
    assert [(each["code"], each["field"]) for each in shown["problems"]] == [
        ("unknown_member", "definition.x")
    ]
    assert shown["rewritten"] == [
        {
            "field": "definition.steps[0].config.duration_seconds",
            "was": "duration_seconds",
            "now": "seconds",
        }
    ]


def test_warnings_are_shown_and_end_with_0(tmp_path: Path) -> None:
    value = chain(step("a", "wait_for_event", event_name="b"))
    done = CliRunner().invoke(app, ["automation", "check", written(tmp_path, value)])
    assert done.exit_code == 0
    assert "warning    steps[0].config (step a): waits up to 365 days" in done.stdout


def test_standard_input_is_read() -> None:
    runner = CliRunner()
    done = runner.invoke(
        app, ["automation", "check", "-"], input=json.dumps(chain(step("a", "delay")))
    )
    assert (done.exit_code, done.stdout.splitlines()[0]) == (
        0,
        "The automation can be published: 1 step, no problems.",
    )


@pytest.mark.parametrize("name", ["missing.json", ".", "a\0b"])
def test_a_file_that_cannot_be_read_is_wrong_usage(tmp_path: Path, name: str) -> None:
    runner = CliRunner()
    done = runner.invoke(app, ["automation", "check", f"{tmp_path}/{name}"])
    assert done.exit_code != 0
    assert "Cannot read" in str(done.exception)


def test_a_terminal_is_not_steered_by_a_definition(tmp_path: Path) -> None:
    value = {"name": "\u202e", "definition": chain(step("a", "delay")) | {"\x1b[2J\u202e": 1}}
    done = headrace("automation", "check", written(tmp_path, value))
    assert done.returncode == 1
    assert done.stdout.isascii()
    assert "\x1b" not in done.stdout
