"""The request of an attempt is derived from versions of the webhook."""

from __future__ import annotations

import pytest

from headrace.domain.deliveries.attempt_requests import (
    EARLIER_KEPT,
    AttemptRequest,
    WebhookVersion,
    earlier_with,
    read_earlier,
    read_response_headers,
    request_of,
    shown_value,
    without_path,
)

VERSIONS = (
    WebhookVersion(1, "https://example.org/a?key=1"),
    WebhookVersion(2, "https://example.org/b", ("X-Key",)),
)


def test_an_attempt_has_the_request_of_its_own_version() -> None:
    first, second = (request_of(VERSIONS, number, "d1", 1_780_928_100) for number in (1, 2))
    assert first is not None
    assert second is not None
    assert (first.method, first.url) == ("POST", "https://example.org/a?key=1")
    assert first.headers == {
        "content-type": "application/json",
        "webhook-id": "d1",
        "webhook-timestamp": "1780928100",
        "webhook-signature": "v1,***",
    }
    assert second.url == "https://example.org/b"
    assert second.headers == first.headers | {"x-key": "***"}


def test_what_is_not_known_is_not_shown() -> None:
    assert request_of(VERSIONS, 3, "d1", 1) is None
    assert request_of(VERSIONS, None, "d1", None) is None
    assert request_of(VERSIONS, 1, "d1", None) is None
    assert request_of((), 1, "d1", 1) is None


def test_earlier_versions_are_limited() -> None:
    text = None
    for number in range(EARLIER_KEPT + 5):
        text = earlier_with(WebhookVersion(number, "u"), read_earlier(text))
    kept = [one.number for one in read_earlier(text)]
    assert kept == [*range(5, EARLIER_KEPT + 5)]
    assert read_earlier(None) == ()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.org/a/b?c=d", "https://example.org/…"),
        ("https://example.org/?c=d", "https://example.org/…"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/"),
    ],
)
def test_a_trace_has_only_the_host(url: str, shown: str) -> None:
    assert without_path(AttemptRequest(url=url, headers={})).url == shown


@pytest.mark.parametrize(
    "name", ["set-cookie", "x-auth-token", "x-api-key", "proxy-authorization", "x-session-id"]
)
def test_secrets_of_the_endpoint_are_masked(name: str) -> None:
    assert shown_value(name, "abc") == "***"
    assert shown_value("server", "abc") == "abc"


def test_response_headers_are_read_by_name() -> None:
    text = "via: a\nserver: x: y\nvia: b\nempty: "
    assert read_response_headers(text) == {"via": "a, b", "server": "x: y", "empty": ""}
    assert read_response_headers(None) is None
