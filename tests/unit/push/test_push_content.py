"""What a push says on a device, and the body of a request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.domain.errors import ApiError
from headrace.domain.messages.kinds import MessageKind
from headrace.domain.push.content import KEY, LocalText, PushContent, choose_text, payload_of
from headrace.domain.push.kinds import Environment, Platform
from headrace.domain.push.request import STYLES, PushRequest, decode_push
from tests.support.push_service import Subscription

NOW_US = 1_800_000_000_000_000
ID = "7d444840-9dc0-5a1d-b245-5ffdce74fad2"


def texts(*codes: str) -> list[LocalText]:
    return [LocalText(code=code, title=code, body=code) for code in codes]


@pytest.mark.parametrize(
    ("codes", "locale", "chosen"),
    [
        (("de", "en"), "de-AT", "de"),
        (("de", "de-AT"), "de_AT", "de-AT"),
        (("de-AT", "de"), "de-CH", "de"),
        (("de-AT",), "de", "de-AT"),
        (("de-AT", "de-DE"), "de-CH", "de-AT"),
        (("PT-br", "pt"), "pt-BR", "PT-br"),
        (("zh-Hans",), "zh-Hans-CN", "zh-Hans"),
        (("en",), "fr", None),
        (("en",), None, None),
        ((), "en", None),
    ],
)
def test_the_text_for_the_language_of_the_device(
    codes: tuple[str, ...], locale: str | None, chosen: str | None
) -> None:
    found = choose_text(texts(*codes), locale, lambda one: one.code)
    assert (None if found is None else found.code) == chosen


def payload(request: PushRequest, locale: str | None = None) -> dict[str, Any]:
    text = payload_of(request.content, notification_id=ID, send_id=None, locale=locale)
    members = json.loads(text)
    assert set(members) == {KEY}
    found: dict[str, Any] = members[KEY]
    return found


def body(**members: Any) -> dict[str, Any]:
    base = {
        "app_id": "abcdefgh",
        "external_ids": ["ann"],
        "notification": {"title": "Hello", "body": "There", "launch_url": "https://example.org/a"},
    }
    return {name: value for name, value in (base | members).items() if value is not ...}


def decode(**members: Any) -> PushRequest:
    return decode_push(json.dumps(body(**members)).encode(), NOW_US)


def test_a_payload_has_what_clients_read() -> None:
    request = decode(
        messages=[{"code": "de", "label": "German", "title": "Hallo", "body": "Da"}],
        buttons=[{"id": "track", "text": "Track", "launch_url": "https://example.org/t"}],
        data={"order": {"id": 7}},
    )
    assert payload(request) == {
        "notification": {"title": "Hello", "body": "There"},
        "metadata": {
            "notification_id": ID,
            "launch_url": "https://example.org/a",
            "web_launch_url": "https://example.org/a",
        },
        "data": {"order": {"id": 7}},
        "actions": [
            {
                "id": "track",
                "text": "Track",
                "title": "Track",
                "launch_url": "https://example.org/t",
            }
        ],
    }
    assert payload(request, "de-DE")["notification"] == {"title": "Hallo", "body": "Da"}


def problems(**members: Any) -> dict[str, str]:
    with pytest.raises(ApiError) as caught:
        decode(**members)
    assert caught.value.status == 422
    return {one.field: one.message for one in caught.value.details}


def test_exactly_one_style_of_targets() -> None:
    assert "" in problems(external_ids=...)
    assert "" in problems(device_ids=["d1"])
    for style in STYLES:
        assert style in problems(**({"external_ids": ...} | {style: []}))


def test_every_style_is_read() -> None:
    browser = Subscription("https://fcm.googleapis.com/fcm/send/a")
    uuid = "0190a1b2-0000-7000-8000-000000000001"
    none: dict[str, Any] = {"external_ids": ...}
    keys = {"p256dh": browser.p256dh, "auth": browser.auth}
    web = {"endpoint": browser.endpoint, "expirationTime": None, "keys": keys}
    assert decode(**none, tokens=[{"token": "t1", "platform": "ios"}]).raw[0].address == "t1"
    assert decode(**none, web_subscriptions=[web, web]).raw[0].platform is Platform.WEB
    assert decode(**none, device_ids=["d1", "d1"]).device_ids == ("d1",)
    assert decode(**none, contact_ids=[uuid]).contact_ids == (uuid,)
    assert decode(**none, emails=["Ann@Example.net"]).emails == ("ann@example.net",)
    to_audience = decode(**none, audiences=[uuid])
    assert to_audience.audiences == (uuid,)
    assert to_audience.content.kind is MessageKind.MARKETING


def test_all_problems_are_listed_at_once() -> None:
    found = problems(
        app_id="no such id!",
        notification={"title": ""},
        buttons=[{"id": str(number), "text": "x"} for number in range(4)],
        messages=[
            {"code": "en", "title": "a", "body": "b"},
            {"code": "EN", "title": "a", "body": "b"},
        ],
        platforms=["windows"],
        environment="staging",
        ttl_seconds=-1,
        urgency="urgent",
        colour="red",
        excluded_audiences=["x"],
    )
    assert set(found) == {
        *("app_id", "notification.title", "notification.body", "buttons", "messages[1].code"),
        *("platforms[0]", "environment", "ttl_seconds", "urgency", "colour"),
        "excluded_audiences[0]",
    }


def test_a_push_that_does_not_fit_is_rejected_at_once() -> None:
    assert "can be sent" in problems(data={"x": "y" * 3900})[""]
    # Also in one of its languages only.
    long = {"code": "de", "title": "a", "body": "ü" * 1900}
    assert "can be sent" in problems(messages=[long])[""]


@pytest.mark.parametrize(
    "web",
    [
        {"endpoint": "https://fcm.googleapis.com/x"},
        {"endpoint": "https://fcm.googleapis.com/x", "keys": {"p256dh": "AA", "auth": "AA"}},
        {"endpoint": "", "keys": {}},
        {"endpoint": "https://fcm.googleapis.com/x", "keys": []},
    ],
)
def test_a_subscription_without_usable_keys_is_rejected(web: dict[str, Any]) -> None:
    assert problems(external_ids=..., web_subscriptions=[web])


def test_defaults() -> None:
    content = decode().content
    assert content.kind is MessageKind.TRANSACTIONAL
    assert content.environment is Environment.PRODUCTION
    assert isinstance(content, PushContent)
    assert content.ttl_s == 259_200
