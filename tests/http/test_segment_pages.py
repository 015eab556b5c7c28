"""Pages that send messages: public keys, their origins, CORS and settings."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.domain.access.api_keys import Scope, allows, issue_key
from headrace.domain.timestamps import now_us
from tests.support.http_server import ACTOR, HttpServer, Project, wait_until
from tests.support.raw_http import Client, Response

SHOP, OTHER = "https://shop.example", "https://other.example"
TRACK = {"event": "a", "userId": "u", "messageId": "m"}


def public_key(server: HttpServer, project: Project, *origins: str) -> str:
    """A key with the scope `track`, once the server knows it."""
    issued = issue_key(
        project.id, frozenset({Scope.TRACK}), name="", now_us=now_us(), origins=origins
    )
    server.in_store(lambda store: store.projects.add_key(issued.key, actor=ACTOR))
    return issued.text


@pytest.fixture
def page(server: HttpServer, project: Project) -> Client:
    """A client with a public key that pages of the shop may use."""
    return project.client(public_key(server, project, SHOP))


def post(client: Client, origin: str | None, path: str = "/v1/t", **message: Any) -> Response:
    headers = {} if origin is None else {"Origin": origin}
    body = json.dumps(TRACK | message)
    return client.post(path, body, body_type="text/plain", headers=headers)


def test_a_public_key_sends_messages_and_nothing_else(page: Client) -> None:
    assert post(page, SHOP).status == 200
    assert post(page, None, messageId="without an origin").status == 200
    assert page.send({"event": "a", "external_id": "x"}).status == 403
    assert page.post("/events/batch", '{"events":[]}').status == 403
    assert page.get("/events").status == 403
    assert page.get("/contacts").status == 403
    assert [scope for scope in Scope if allows(frozenset({Scope.TRACK}), scope)] == [Scope.TRACK]


def test_only_pages_of_its_origins_may_use_a_key(
    server: HttpServer, project: Project, page: Client
) -> None:
    answer = post(page, OTHER)
    assert (answer.status, answer.json()["code"]) == (403, "Forbidden")
    assert "access-control-allow-origin" not in answer.headers
    answer = post(page, SHOP)
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert answer.headers["vary"] == "Origin"
    anywhere = project.client(public_key(server, project, "*"))
    assert post(anywhere, OTHER).headers["access-control-allow-origin"] == OTHER
    # A secret key must not be on a page at all.
    assert post(project.client(), SHOP).status == 403


def test_pages_can_read_errors(page: Client) -> None:
    anybody = Client(page.port, None)
    for client, status in ((page, 400), (anybody, 401)):
        answer = client.post("/v1/batch", "{}", headers={"Origin": SHOP})
        assert answer.status == status
        assert answer.headers["access-control-allow-origin"] == SHOP
    anybody.close()


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/track", "/v1/t", "/v1/b", "/api/s/track"])
def test_a_preflight_needs_no_key(server: HttpServer, path: str) -> None:
    client = Client(server.port, None)
    asked = {
        "Origin": SHOP,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    answer = client.request("OPTIONS", path, headers=asked)
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == SHOP
    allowed = answer.headers["access-control-allow-headers"].split(", ")
    assert {"authorization", "content-type", "x-write-key", "x-retry-count"} <= set(allowed)
    assert answer.headers["access-control-max-age"] == "86400"
    client.close()


def test_settings_name_the_key_and_the_server(server: HttpServer, page: Client) -> None:
    anybody = Client(server.port, None)
    answer = anybody.get(f"/v1/projects/{page.key}/settings", Origin=SHOP)
    assert answer.json() == {
        "integrations": {
            "Segment.io": {
                "apiKey": page.key,
                # As the request names this server.
                "apiHost": "test/v1",
                "protocol": "http",
            }
        }
    }
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert anybody.get(f"/v1/projects/{page.key}/settings", Origin=OTHER).status == 403
    assert anybody.get("/v1/projects/x/settings").json()["code"] == "Unauthorized"
    assert str(page.key).rpartition("_")[2] not in server.log_text()
    anybody.close()


def test_a_public_key_fills_an_address_and_changes_none(project: Project, page: Client) -> None:
    client = project.client()

    def identify(email: str, number: int) -> None:
        traits = {"email": email, "visits": number}
        answer = post(page, SHOP, "/v1/i", traits=traits, messageId=f"i{number}")
        assert answer.status == 200
        wait_until(lambda: visits() == number, 15)

    def contact() -> dict[str, Any]:
        found: list[dict[str, Any]] = client.get("/contacts?external_id=u").data
        return found[0] if found else {}

    def visits() -> int:
        return int(contact().get("properties", {}).get("visits", 0))

    identify("first@x.org", 1)
    identify("second@x.org", 2)
    assert contact()["email"] == "first@x.org"
    for member in ("$set", "$set_once", "\\u0024set"):
        body = json.dumps(TRACK)[:-1] + f',"properties":{{"{member}":{{"email":"c@x.org"}}}}}}'
        answer = page.post("/v1/t", body)
        assert (answer.status, answer.json()["code"]) == (400, "ValidationError")
