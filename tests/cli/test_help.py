"""The help of every command has the same form."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from headrace import __version__
from headrace.cli.application import app
from headrace.cli.shared import settings
from headrace.config import SETTINGS
from tests.support.server import headrace

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"
#: Without `--json`: it runs until it is stopped and has no result to print.
WITHOUT_JSON = {("worker",)}


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


ALL = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_has_an_example_of_the_command(path: tuple[str, ...]) -> None:
    assert f"Example: headrace {' '.join(path)}" in ALL[path].help


@pytest.mark.parametrize("path", sorted(ALL.keys() - WITHOUT_JSON), ids=" ".join)
def test_every_command_speaks_json(path: tuple[str, ...]) -> None:
    assert "--json" in {name for each in ALL[path].params for name in each.opts}


@pytest.mark.parametrize("group", sorted({path[0] for path in ALL}))
def test_every_command_is_in_the_reference(group: str) -> None:
    assert f"`headrace {group}" in DOCUMENT.read_text("utf-8")


def test_every_setting_is_a_flag_of_some_command() -> None:
    groups = (settings.SERVE, settings.WORKER, settings.STORE, settings.CLIENT)
    assert {setting.name for setting in SETTINGS} == {name for group in groups for name in group}


def test_help_is_printed_by_the_real_command() -> None:
    done = headrace("key", "create", "--help")
    assert done.returncode == 0
    assert "Example: headrace key create --project default" in done.stdout
    assert headrace("no-such-command").returncode == 2


def test_the_version_is_printed() -> None:
    told = headrace("--version")
    assert told.returncode == 0
    assert told.stdout == f"headrace {__version__}\n"
