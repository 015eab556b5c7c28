"""Arbitrary bodies at every route of push: no server error, and none that a phone would repeat."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.http_server import HttpServer, Project
from tests.support.push import new_app, subscription
from tests.support.raw_http import Client

CLIENT_ROUTES = (
    *(("POST", "/v1/init"), ("POST", "/v1/register"), ("POST", "/v1/subscription")),
    *(("POST", "/v1/track"), ("POST", "/v1/tags"), ("POST", "/v1/live-activities/tokens")),
    *(("DELETE", "/v1/live-activities/tokens"), ("POST", "/v1/notification-channels/sync")),
)
MEMBERS = (
    *("device_id", "platform", "environment", "permission_status", "subscribed", "sdk_version"),
    *("registration_id", "apns_device_token", "apns_environment", "user_external_id"),
    *("user_email", "preserve_user_identity", "clear_user_identity", "idempotency_key"),
    *("web_push_subscription", "event_type", "notification_id", "properties", "tags", "token"),
    *("device_locale", "device_model", "timezone", "name", "origins", "worker_path", "fcm_app"),
)
#: Values that lead further than arbitrary ones.
LIKELY = (
    *("web", "android", "ios", "production", "denied", "open", "click", "a.b", "sendrealm.x"),
    *("ann", "ann@b.example", "undefined", "a\x00b", "\ud800", "{{7*7}}", "<script>", 10**400),
    *(str(uuid.uuid4()), {"$set": {"email": "x@b.example"}}, {"action_id": "a"}, 1e308, -0.0),
    *({"endpoint": "http://169.254.169.254/", "keys": {}}, {"keys": [], "endpoint": 7}),
    *({"endpoint": "https://fcm.googleapis.com/x", "expirationTime": 1e300, "keys": {}}, 2**63),
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=8,
)
BODIES = st.dictionaries(
    st.sampled_from(MEMBERS) | st.text(max_size=8), st.sampled_from(LIKELY) | VALUES, max_size=8
)
QUICK = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def app_id(shared: Project) -> str:
    found: str = new_app(shared.client())["id"]
    return found


@pytest.fixture(scope="module")
def anybody(server: HttpServer) -> Iterator[Client]:
    """A client without a key."""
    client = Client(server.port, None)
    yield client
    client.close()


@pytest.fixture(scope="module")
def keyed(shared: Project) -> Client:
    """A client with a key."""
    return shared.client()


@pytest.mark.parametrize(("method", "path"), CLIENT_ROUTES)
@QUICK
@given(body=BODIES)
def test_no_body_is_a_server_error(
    anybody: Client, app_id: str, method: str, path: str, body: dict[str, Any]
) -> None:
    data = json.dumps({**body, "app_id": app_id}).encode()
    answer = anybody.request(method, path, body=data)
    assert answer.status in {200, 422}, answer.body


@pytest.mark.parametrize(("method", "path"), CLIENT_ROUTES)
@QUICK
@given(body=BODIES, platform=st.sampled_from(["android", "ios"]))
def test_a_phone_gets_no_error_that_it_would_repeat(
    anybody: Client, app_id: str, method: str, path: str, body: dict[str, Any], platform: str
) -> None:
    data = json.dumps({**body, "app_id": app_id, "platform": platform}).encode()
    answer = anybody.request(method, path, body=data)
    assert answer.status == 200, answer.body


@pytest.mark.parametrize("path", [path for _, path in CLIENT_ROUTES] + ["/push/apps"])
@QUICK
@given(body=st.binary(max_size=60) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_no_text_is_a_server_error(keyed: Client, path: str, body: bytes) -> None:
    assert keyed.post(path, body).status in {400, 404, 422}


@QUICK
@given(body=BODIES, name=VALUES)
def test_no_app_is_a_server_error(keyed: Client, body: dict[str, Any], name: Any) -> None:
    data = json.dumps({**body, "name": name}).encode()
    assert keyed.post("/push/apps", data).status in {201, 409, 422}


def test_a_subscription_of_the_same_shape_is_taken(anybody: Client, app_id: str) -> None:
    """The routes are reached: a valid body is no 422."""
    body = {"app_id": app_id, "device_id": "d", "platform": "web"}
    data = json.dumps({**body, "web_push_subscription": subscription()}).encode()
    assert anybody.post("/v1/register", data).status == 200
