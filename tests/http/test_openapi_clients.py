"""The OpenAPI document with third-party tools: validators, and generators of clients.

`make test` installs them: `.venv-openapi` and `tests/http/node/node_modules`. Known limits of a
generator are listed here with their reasons; any other warning fails the test.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from headrace.http.openapi import openapi_document
from headrace.http.table import ROUTES, TAGS
from tests.support.http_server import HttpServer, Project

ROOT = Path(__file__).parents[2]
PYTHON_TOOLS = ROOT / ".venv-openapi" / "bin"
NODE = Path(__file__).parent / "node"
NODE_TOOLS = NODE / "node_modules" / ".bin"
GENERATED = Path(__file__).parent / "generated"
PACKAGE = "headrace_generated"

#: Warnings of openapi-python-client for operations that it generates differently, and why.
PYTHON_EXCEPTIONS = {
    # It has no model for NDJSON, which has no schema. The same operation takes the batch as JSON.
    ("POST /events/batch", "Unsupported content type application/x-ndjson"),
    ("POST /contacts/batch", "Unsupported content type application/x-ndjson"),
}
#: A mail and a file are passed on as bytes.
PYTHON_CONFIG = """\
post_hooks: []
content_type_overrides:
  message/rfc822: application/octet-stream
  text/csv: application/octet-stream
"""
EXPECTED_USE = {
    "same": True,
    "deduplicated": True,
    "batch": [200, 202],
    "wrong": "NotFound",
    "listed": 2,
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi_document(ROUTES, TAGS)


@pytest.fixture(scope="module")
def operations(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """`(group, name)` of every operation."""
    found = [each for item in document["paths"].values() for each in item.values()]
    return [(each["tags"][0], each["operationId"]) for each in found]


@pytest.fixture(scope="module")
def folder(document: Mapping[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the document, for generated clients."""
    folder = tmp_path_factory.mktemp("openapi")
    (folder / "openapi.json").write_text(json.dumps(document))
    yield folder
    shutil.rmtree(folder)


def run(command: Sequence[str | Path], folder: Path) -> str:
    """Output of a tool, which must succeed."""
    assert Path(command[0]).exists(), f"{command[0]} is absent: make test installs it"
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=90
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-5000:]
    return said


def test_it_is_a_valid_document(folder: Path) -> None:
    run([PYTHON_TOOLS / "openapi-spec-validator", folder / "openapi.json"], folder)


def test_redocly_finds_nothing(folder: Path) -> None:
    config = f"--config={NODE / 'redocly.yaml'}"
    run([NODE_TOOLS / "redocly", "lint", config, "openapi.json"], folder)


def test_a_python_client_has_every_operation_and_works(
    folder: Path, operations: list[tuple[str, str]], server: HttpServer, project: Project
) -> None:
    (folder / "python.yaml").write_text(PYTHON_CONFIG)
    said = run(
        [
            PYTHON_TOOLS / "openapi-python-client",
            "generate",
            "--path=openapi.json",
            f"--output-path={PACKAGE}",
            "--meta=none",
            "--config=python.yaml",
            "--overwrite",
        ],
        folder,
    )

    complaints = re.findall(r"(?:WARNING|ERROR) parsing (.+?) within .*?\n\n(.+?)\n", said)
    assert said.count("WARNING") + said.count("ERROR") == len(complaints), said
    assert set(complaints) == PYTHON_EXCEPTIONS
    for group, name in operations:
        module = folder / PACKAGE / "api" / _snake(group) / f"{_snake(name)}.py"
        assert module.is_file(), module
    used = run(
        [PYTHON_TOOLS / "python", _copied(folder, GENERATED / "use.py"), _url(server), project.key],
        folder,
    )
    assert json.loads(used) == EXPECTED_USE | {"topic": "From Python"}


def test_typescript_clients_have_every_operation_and_work(
    folder: Path, operations: list[tuple[str, str]], server: HttpServer, project: Project
) -> None:
    """Types by openapi-typescript, functions by @hey-api/openapi-ts; both compile as strict."""
    run([NODE_TOOLS / "openapi-typescript", "openapi.json", "-o", "types.ts"], folder)
    run([NODE_TOOLS / "openapi-ts", "-i", "openapi.json", "-o", "generated", "--silent"], folder)

    types = (folder / "types.ts").read_text()
    functions = (folder / "generated" / "sdk.gen.ts").read_text()
    for _, name in operations:
        assert re.search(rf"^    {name}: \{{", types, re.MULTILINE), name
        assert f"export const {name} = " in functions, name
    _copied(folder, NODE / "use.ts")
    options = ["--strict", "--skipLibCheck", "--target", "es2022", "--module", "commonjs"]
    lib = ["--lib", "es2022,dom,dom.iterable"]
    run([NODE_TOOLS / "tsc", *options, *lib, "--outDir", "built", "use.ts"], folder)
    node = shutil.which("node")
    assert node is not None
    used = run([node, "built/use.js", _url(server), project.key], folder)
    assert json.loads(used) == EXPECTED_USE | {"topic": "From TypeScript"}


def _copied(folder: Path, source: Path) -> str:
    shutil.copy(source, folder)
    return source.name


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", name).replace(" ", "_").lower()


def _url(server: HttpServer) -> str:
    return f"http://127.0.0.1:{server.port}"
