"""Routes without a key, and the headers of every response."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256

import pytest
from prometheus_client.parser import text_string_to_metric_families

from headrace.http.openapi import ApiDocument
from headrace.http.openapi.samples import sample_of
from headrace.http.table import ROUTES, TAGS
from tests.support.http_server import HttpServer, Project
from tests.support.raw_http import Client, Connection, Response, head_of

METRICS = {
    "headrace_events_accepted",
    "headrace_events_deduplicated",
    "headrace_events_rejected",
    "headrace_commit_seconds",
    "headrace_commit_events",
    "headrace_commit_queue_depth",
    "headrace_store_size_bytes",
    "headrace_disk_free_bytes",
    "headrace_deliveries_claimed",
    "headrace_breakers_open",
    "headrace_delivery_attempts",
    "headrace_delivery_attempt_seconds",
}


@pytest.fixture
def anybody(server: HttpServer) -> Iterator[Client]:
    """A client without a key."""
    client = Client(server.port, None)
    yield client
    client.close()


def test_health_and_readiness(anybody: Client) -> None:
    assert anybody.get("/healthz").data == {"status": "ok"}
    assert anybody.get("/readyz").data == {"status": "ready"}


def scrape(client: Client) -> dict[str, float]:
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = list(text_string_to_metric_families(answer.body.decode()))
    assert {family.name for family in families} >= METRICS
    return {
        f"{sample.name} {sample.labels.get('code', '')}".strip(): sample.value
        for family in families
        for sample in family.samples
    }


def test_metrics_count_what_happens(anybody: Client, project: Project) -> None:
    client = project.client()
    before = scrape(anybody)
    sent = {"event": "a", "external_id": "x", "idempotency_key": "k"}
    client.send(sent)
    client.send(sent)
    client.send({**sent, "event": "Bad"})
    after = scrape(anybody)

    def grown(name: str) -> float:
        return after.get(name, 0) - before.get(name, 0)

    assert grown("headrace_events_accepted_total") == 1
    assert grown("headrace_events_deduplicated_total") == 1
    assert grown("headrace_events_rejected_total ValidationError") == 1
    assert grown("headrace_commit_seconds_count") >= 1


def test_the_docs_page_needs_nothing_from_elsewhere(anybody: Client) -> None:
    answer = anybody.get("/docs")

    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    page = answer.body.decode()
    for attribute in re.findall(r'(?:src|href|action)\s*=\s*["\']?([^"\'\s>]+)', page):
        # The one external link explains how webhook calls are signed.
        assert attribute.startswith(("/", "#", "data:", "https://www.standardwebhooks.com"))
        assert not attribute.startswith("//")
    # Its own script and style are allowed by their hashes, and no others.
    for kind in ("script", "style"):
        (own,) = re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        assert page.count(f"<{kind}") == 1
        digest = base64.b64encode(sha256(own.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "@import" not in page
    assert "url(" not in page
    for path in anybody.get("/openapi.json").json()["paths"]:
        assert f"<code>{path}</code>" in page


def test_browsers_get_an_icon(anybody: Client) -> None:
    answer = anybody.get("/favicon.ico")
    assert (answer.status, answer.headers["content-type"]) == (200, "image/svg+xml")


def test_the_page_leads_to_the_backoffice_only_where_there_is_one(anybody: Client) -> None:
    assert 'href="/backoffice"' in anybody.get("/docs").body.decode()
    assert "/backoffice" not in ApiDocument(ROUTES, TAGS).page.html


SAMPLED = ("ingestEvent", "createTopic", "listEvents", "ingestBatch", "createContact", "healthz")


@pytest.mark.parametrize("name", SAMPLED)
def test_the_samples_of_the_page_can_be_run_as_they_are(
    server: HttpServer, project: Project, name: str
) -> None:
    document = ApiDocument(ROUTES, TAGS).document
    method, path, operation = next(
        (method, path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if operation["operationId"] == name
    )
    sample = sample_of(method, path, operation, document["components"]["schemas"])
    environment = {
        **os.environ,
        "HEADRACE_URL": f"http://127.0.0.1:{server.port}",
        "HEADRACE_KEY": project.key,
    }

    first = sample.curl.replace("curl ", "curl --silent --show-error ", 1)
    for command in (["bash", "-c", first], [sys.executable, "-c", sample.python]):
        said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert "data" in json.loads(said.stdout), said.stdout
        # Build output would affect the next language.
        if name in ("createTopic", "createContact"):
            made = json.loads(said.stdout)["data"]["id"]
            assert project.client().request("DELETE", f"{path}/{made}").status == 204


def test_every_sample_of_python_is_a_program() -> None:
    document = ApiDocument(ROUTES, TAGS).document
    for path, item in document["paths"].items():
        for method, operation in item.items():
            sample = sample_of(method, path, operation, document["components"]["schemas"])
            compile(sample.python, path, "exec")


def test_the_start_page_leads_to_the_docs(anybody: Client) -> None:
    answer = anybody.get("/")

    assert (answer.status, answer.headers["location"]) == (307, "/docs")


ANSWERS = {
    "public": head_of("GET", "/healthz"),
    "docs": head_of("GET", "/docs"),
    "401": head_of("GET", "/events"),
    "malformed": b"x\r\n\r\n",
    "414": b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n",
    "431": b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * 20_000,
    "redirect": head_of("GET", "/"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_every_response_has_its_own_request_id(server: HttpServer, name: str) -> None:
    ids = set()
    for _ in range(3):
        with Connection(server.port) as connection:
            connection.send(ANSWERS[name])
            answer = connection.answer()
            ids.add(answer.headers["x-request-id"])
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["date"].endswith("GMT")
    assert len(ids) == 3


def test_responses_about_a_project_are_not_cached(project: Project) -> None:
    client = project.client()
    answers: list[Response] = [
        client.send({"event": "a", "external_id": "x"}),
        client.send({}),
        client.get("/events"),
        client.get("/events/x"),
        client.get("/rejections"),
        client.post("/events/validate", '{"event":"a","external_id":"x"}'),
    ]
    assert {answer.headers.get("cache-control") for answer in answers} == {"no-store"}


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("DELETE", "/events", {"GET", "HEAD", "POST"}),
        ("PUT", "/events", {"GET", "HEAD", "POST"}),
        ("GET", "/events/batch", {"POST"}),
        ("GET", "/events/validate", {"POST"}),
        ("POST", "/rejections", {"GET", "HEAD"}),
        ("POST", "/healthz", {"GET", "HEAD"}),
    ],
)
def test_another_method_is_405_naming_those_there_are(
    shared: Project, method: str, target: str, allowed: set[str]
) -> None:
    answer = shared.client().request(method, target, body=b"{}")

    assert (answer.status, answer.code) == (405, "MethodNotAllowed")
    assert set(answer.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize(
    "target", ["/nowhere", "/event", "/Events", "/events/x/y", "/.env", "/%2e%2e"]
)
def test_an_unknown_path_is_404(shared: Project, target: str) -> None:
    answer = shared.client().get(target)

    assert (answer.status, answer.code) == (404, "NotFound")
