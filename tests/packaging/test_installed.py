"""The wheel works where there is nothing else: no work tree, no development tools."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.version import VERSION
from tests.support.server import clean_environment


@pytest.fixture(scope="module")
def served(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What `headrace serve` of the environment announced."""
    folder = tmp_path_factory.mktemp("served")
    store = f"sqlite:///{folder / 'headrace.db'}"
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [environment / "headrace", "serve", "--json", "--port", "0", "--store", store],
            cwd=folder,
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=log,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, (folder / "log").read_text("utf-8")
            yield json.loads(line)
            process.terminate()
            assert process.wait(12) == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


def fetch(url: str, key: str = "", body: Any = None) -> tuple[int, str]:
    request = urllib.request.Request(  # noqa: S310 - the server's own address
        url,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"}
        | ({"Authorization": f"Bearer {key}"} if key else {}),
    )
    with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310
        return response.status, response.read().decode()


def test_the_command_is_installed(environment: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [environment / "headrace", "--version"],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"headrace {VERSION}\n", done.stderr


def test_the_package_comes_from_the_environment(environment: Path, tmp_path: Path) -> None:
    shown = subprocess.run(
        [environment / "python", "-c", "import headrace; print(headrace.__file__)"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(shown.stdout.strip()).is_relative_to(environment.parent)


def test_an_event_is_accepted(served: dict[str, Any]) -> None:
    event = {"event": "order.completed", "external_id": "u1"}
    assert fetch(f"{served['url']}/events", served["key"], event)[0] == 202


def test_pages_have_their_templates_and_files(served: dict[str, Any]) -> None:
    status, page = fetch(served["sign_in"])
    assert status == 200
    assert "become the owner" in page
    [style] = {part.split('"')[0] for part in page.split('href="')[1:] if ".css" in part[:200]}
    assert fetch(served["url"] + style)[0] == 200


def test_the_documentation_of_the_api_is_served(served: dict[str, Any]) -> None:
    assert "/events" in json.loads(fetch(f"{served['url']}/openapi.json")[1])["paths"]
    assert fetch(f"{served['url']}/docs")[0] == 200
