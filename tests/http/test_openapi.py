"""The OpenAPI document against the server: thousands of requests made from it by schemathesis."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.domain.errors import STATUS_OF
from tests.support.http_server import HttpServer, Project
from tests.support.raw_http import Client

COMMAND = [
    str(Path(sys.executable).with_name("schemathesis")),
    "run",
    # Its answer has no end; tested by itself.
    "--exclude-path=/events/stream",
    # They want an operator's token.
    "--exclude-path-regex=^/admin",
    "--phases=examples,coverage,fuzzing",
    "--max-examples=25",
    "--max-time=30",
    "--seed=1",
    "--generation-database=none",
    "--continue-on-failure",
    "--suppress-health-check=all",
    "--warnings=off",
    "--no-color",
    # A schema cannot say that a cursor was made by the server, that two fields must agree, or how
    # an address is put together: requests it allows may be refused, with a reason.
    "--exclude-checks=positive_data_acceptance",
]

#: A bad item of a batch is answered in its place, and the request as a whole succeeds.
CONFIGURATION = """
[[operations]]
include-path-regex = "^/(events|contacts|emails)/batch$"
checks.negative_data_rejection.enabled = false
"""

CODES = (
    "MalformedJson",
    "ValidationError",
    "ReservedEventName",
    "PayloadTooLarge",
    "RequestTooLarge",
    "UnsupportedMediaType",
    "Unauthorized",
    "Forbidden",
    "IdempotencyKeyReused",
    "RateLimited",
    "Overloaded",
    "StorageUnavailable",
)


@pytest.mark.slow
def test_the_document_is_true(server: HttpServer, project: Project, tmp_path: Path) -> None:
    """All checks: statuses, types, headers and bodies of answers, bad data refused, no 5xx."""
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    environment = {k: v for k, v in os.environ.items() if "SCHEMATHESIS" not in k}

    run = subprocess.run(
        [
            *COMMAND,
            f"--header=Authorization: Bearer {project.key}",
            f"http://127.0.0.1:{server.port}/openapi.json",
        ],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )

    assert run.returncode == 0, run.stdout[-20_000:]


def test_the_document_names_every_error_code(server: HttpServer) -> None:
    """Each code that a route can answer is told at its status."""
    client = Client(server.port, None)
    document = client.get("/openapi.json").json()
    client.close()
    post = document["paths"]["/events"]["post"]["responses"]

    assert document["openapi"] == "3.1.0"
    for code in CODES:
        status = next(str(number) for known, number in STATUS_OF.items() if known == code)
        assert code in post[status]["description"]


@pytest.mark.parametrize(
    ("field", "inside", "outside"),
    [
        ("event", "a" * 200, "a" * 201),
        ("external_id", "x" * 255, "x" * 256),
        ("idempotency_key", "k" * 255, "k" * 256),
        ("external_id", "x", ""),
        ("idempotency_key", " ", ""),
        ("event", "sendrealmx", "sendrealm"),
    ],
)
def test_the_limits_of_fields_are_those_the_server_keeps(
    client: Client, field: str, inside: str, outside: str
) -> None:
    document = client.get("/openapi.json").json()
    rules = document["components"]["schemas"]["EventInput"]["properties"][field]
    good = {"event": "a", "external_id": "x"}

    assert client.send({**good, field: inside}).status == 202
    assert client.send({**good, field: outside}).status == 422
    for text, allowed in ((inside, True), (outside, False)):
        long_enough = len(text) >= rules.get("minLength", 0)
        short_enough = len(text) <= rules["maxLength"]
        reserved = re.search(rules["not"]["pattern"], text) if "not" in rules else None
        assert (long_enough and short_enough and reserved is None) is allowed


def test_the_filters_of_the_list_of_events_are_described(client: Client) -> None:
    document = client.get("/openapi.json").json()
    parameters = {each["name"]: each for each in document["paths"]["/events"]["get"]["parameters"]}
    assert "resolved to this contact" in parameters["contact_id"]["description"]
    # Events of the system may not be sent, but they are found.
    assert "not" not in parameters["event"]["schema"]
    assert client.get("/events?event=sendrealm.contact.created").status == 200
    assert "not" in document["components"]["schemas"]["EventInput"]["properties"]["event"]
