"""The container image and the compose files, as far as they can be tried without an engine.

`make check-deploy` lints them; building the image needs an engine and the registry of its base.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from headrace.cli.application import app
from headrace.config import load_settings
from tests.deploy.conftest import DEPLOY
from tests.support.ports import free_port
from tests.support.server import RunningServer

ROOT = DEPLOY.parent
#: What each variable of `.env` may look like.
VARIABLES = {"POSTGRES_PASSWORD": "9f3c", "SECRET_KEY": "A" * 43 + "="}
COMPOSE = ("compose.yaml", "compose.postgres.yaml")


def instructions() -> list[tuple[str, str]]:
    """Every instruction of the Dockerfile with its arguments, in order."""
    text = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    lines = (line.strip() for line in text.splitlines())
    split = (line.partition(" ") for line in lines if line and not line.startswith("#"))
    return [(name, rest.strip()) for name, _, rest in split]


def last(name: str) -> str:
    return [rest for found, rest in instructions() if found == name][-1]


def settings_of(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith("HEADRACE_")}


def image_environment() -> dict[str, str]:
    return dict(word.split("=", 1) for word in shlex.split(last("ENV")))


def test_the_wheel_can_be_built_from_what_the_image_copies(tmp_path: Path) -> None:
    allowed = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    for name, rest in instructions():
        if name == "COPY" and not rest.startswith("--from"):
            *sources, target = rest.split()
            for source in sources:
                assert f"!{source}" in allowed, f"{source} is not sent to the engine"
                into = tmp_path / target / ("" if source == "src" else Path(source).name)
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, into, dirs_exist_ok=True)
                else:
                    into.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(ROOT / source, into)
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True)
    assert list(tmp_path.glob("dist/headrace-*.whl"))


def test_the_image_does_not_run_as_root_and_keeps_its_data() -> None:
    assert last("USER") == "10001:10001"
    settings = load_settings({}, settings_of(image_environment()))
    assert settings.store == f"sqlite:///{last('VOLUME')}/headrace.db"
    assert settings.host == "0.0.0.0"  # noqa: S104 - inside the container
    assert str(settings.port) == last("EXPOSE")
    assert json.loads(last("ENTRYPOINT")) == ["headrace"]


def test_the_health_check_is_the_readiness_of_the_server(server: RunningServer) -> None:
    python, *arguments = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
    assert python == "python"

    def check(port: int) -> int:
        # Proxies of the environment are not for it.
        environ = os.environ | {"HEADRACE_PORT": str(port), "http_proxy": "http://127.0.0.1:9"}
        command = [sys.executable, *arguments]
        return subprocess.run(command, env=environ, capture_output=True, check=False).returncode

    assert check(server.port) == 0
    assert check(free_port()) != 0


def substituted(text: str) -> str:
    """A compose file with its variables: `${NAME:-default}`, `${NAME:?message}`."""

    def value(found: re.Match[str]) -> str:
        name, kind, rest = found.groups()
        assert kind == ":-" or name in VARIABLES, f"{name} is not in the test"
        return VARIABLES.get(name, rest if kind == ":-" else "")

    return re.sub(r"\$\{(\w+)(:[-?])([^}]*)\}", value, text)


def services(file: str) -> dict[str, dict[str, Any]]:
    document = yaml.safe_load(substituted((DEPLOY / file).read_text("utf-8")))
    found: dict[str, dict[str, Any]] = document["services"]
    return found


@pytest.mark.parametrize("file", COMPOSE)
def test_services_are_called_with_what_headrace_knows(file: str) -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    own = {name: found for name, found in services(file).items() if found["image"] == "headrace"}
    assert own
    for name, found in own.items():
        [command] = found.get("command", json.loads(last("CMD")))
        assert command in commands, name
        load_settings({}, settings_of(image_environment() | found["environment"]))
        assert found["read_only"]
        assert found["cap_drop"] == ["ALL"]
        for port in found.get("ports", ()):
            assert port.startswith("127.0.0.1:"), "it speaks HTTP without TLS"


def test_servers_and_workers_start_after_the_migration() -> None:
    found = services("compose.postgres.yaml")
    for name in ("server", "worker"):
        assert found[name]["depends_on"] == {
            "migrate": {"condition": "service_completed_successfully"}
        }
    assert found["migrate"]["depends_on"] == {"database": {"condition": "service_healthy"}}
