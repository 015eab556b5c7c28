"""Query parameters of every route in the table: unknown, invalid or repeated."""

from __future__ import annotations

import pytest

from headrace.http.table import ROUTES
from tests.http.test_authorization import ABSENT
from tests.support.described_routes import Operation, operations
from tests.support.http_server import Project
from tests.support.raw_http import Response

KEYED = [
    each
    for each in operations(ROUTES)
    if not each.is_public and not each.is_for_operators and not each.route.access.is_in_path
]
#: Handlers that read a query; the two ingest routes have none.
HANDLED = [each for each in KEYED if each.route.handler is not None]


def ask(shared: Project, operation: Operation, query: str) -> Response:
    target = operation.target(dict.fromkeys(operation.parameters, ABSENT))
    body, media = operation.body()
    client = shared.client()
    return client.request(operation.method, f"{target}?{query}", body=body, body_type=media)


@pytest.mark.parametrize("operation", HANDLED, ids=str)
def test_an_unknown_parameter_is_named_on_every_route(
    shared: Project, operation: Operation
) -> None:
    known = [each.name for each in operation.route.query if not each.is_prefix]

    answer = ask(shared, operation, "nonsense=1")

    assert (answer.status, answer.code, answer.fields) == (422, "ValidationError", ["nonsense"])
    message = answer.json()["error"]["message"]
    assert "nonsense: is not a parameter of this route" in message
    assert all(name in message for name in known)


@pytest.mark.parametrize(
    ("target", "field", "hint"),
    [
        ("/events?evnt=a", "evnt", "did you mean event?"),
        ("/events?userId=a", "userId", "did you mean external_id?"),
        ("/contacts?propertyplan=a", "propertyplan", "property.<name>"),
        ("/dead-letters?subscriberId=a", "subscriberId", "did you mean subscriber_id?"),
        ("/topics?page=2", "page", "known: limit, cursor"),
        ("/topics?%0A%1b=2", "\\n\\x1b", "known: limit, cursor"),
    ],
)
def test_the_nearest_parameter_is_named(
    shared: Project, target: str, field: str, hint: str
) -> None:
    answer = shared.client().get(target)

    assert (answer.status, answer.fields) == (422, [field])
    assert hint in answer.json()["error"]["message"]


def test_all_problems_of_a_query_are_reported_at_once(shared: Project) -> None:
    answer = shared.client().get("/events?limit=0&status=x&event=A&what=1&email=x&email=y")
    assert answer.fields == ["limit", "status", "event", "what", "email", "email"]


def test_a_public_route_minds_no_parameter(shared: Project) -> None:
    assert shared.client().get("/healthz?probe=1").status == 200


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/%68ealthz", 200),
        ("POST", "/%65vents", 202),
        ("POST", "/events%2Fbatch", 200),
        ("GET", "/%65vents/%73tream?x=1", 422),
        ("GET", "/%61dmin/projects", 401),
        ("GET", "/b%61ckoffice/sign-in", 200),
        ("GET", "/%2565vents", 404),
        ("GET", "/events/", 404),
        ("GET", "//events", 404),
    ],
)
def test_a_path_is_decoded_once_before_it_is_looked_up(
    shared: Project, method: str, target: str, status: int
) -> None:
    event = '{"event":"a","external_id":"x"}'
    body = '{"events":[' + event + "]}" if "batch" in target else event
    client = shared.client()
    data = body.encode() if method == "POST" else None
    assert client.request(method, target, body=data).status == status
