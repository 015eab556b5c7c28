"""The client protocol of push: registration, identity, events and tags, without a key."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tests.support.audiences import new_contact, send
from tests.support.http_server import HttpServer, Project, wait_until
from tests.support.push import Phone, add_notification, new_app, subscription
from tests.support.raw_http import Client, Response

WAIT_SECONDS_MAX = 20.0
SHOP = "https://shop.example.org"

Open = Callable[..., Phone]


@pytest.fixture
def anybody(server: HttpServer) -> Iterator[Client]:
    """A client without a key."""
    client = Client(server.port, None)
    yield client
    client.close()


@pytest.fixture
def phone(client: Client, anybody: Client) -> Open:
    """Makes clients of a new app."""
    app_id = new_app(client)["id"]
    return lambda platform="web": Phone(anybody, app_id, platform)


def events(client: Client, name: str) -> list[dict[str, Any]]:
    answer = client.get(f"/events?event={name}")
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.data
    return found


def processed(client: Client, name: str) -> dict[str, Any]:
    """The only event of a name, once it has its contact."""
    wait_until(
        lambda: [each["status"] for each in events(client, name)] == ["processed"],
        WAIT_SECONDS_MAX,
    )
    return events(client, name)[0]


# --- registration ---


def test_a_website_gets_the_key_and_registers(phone: Open, client: Client) -> None:
    web = phone()
    begun = web.send("init", environment="production", device_locale="de-DE", subscribed=False)
    assert begun.status == 200, begun.body
    assert begun.json()["status"] == 200
    app = client.get(f"/push/apps/{web.app_id}").data
    assert begun.data["web_push"] == {
        "public_key": app["public_key"],
        "service_worker_path": "/sendrealm-service-worker.js",
        "service_worker_scope": "/",
    }
    assert (begun.data["device_id"], begun.data["platform"]) == (web.device_id, "web")
    assert web.shown(client)["reason"] == "not_registered"

    done = web.send("register", web_push_subscription=subscription(), subscribed=True)
    assert done.status == 200, done.body
    shown = web.shown(client)
    assert (shown["state"], shown["reason"], shown["locale"]) == ("subscribed", None, "de-DE")
    assert shown["push_service"] == "fcm.googleapis.com"
    assert shown["registration_token_present"] is True


@pytest.mark.parametrize(("platform", "member"), [("android", "fcm_app"), ("ios", None)])
def test_phones_get_a_device_id_and_store_their_token(
    phone: Open, client: Client, platform: str, member: str | None
) -> None:
    mobile = phone(platform)
    fcm = {"application_id": "1:2:android:3", "project_id": "p", "sender_id": "2", "api_key": "k"}
    send(client, "PATCH", f"/push/apps/{mobile.app_id}", fcm_app=fcm)
    wait_until(
        lambda: mobile.send("init", device_id=None).data.get(member or "device_id") is not None,
        WAIT_SECONDS_MAX,
    )
    begun = mobile.send("init", device_id=None)
    assert begun.data.get("fcm_app") == (fcm if member else None)
    mobile.device_id = begun.data["device_id"]
    done = mobile.send("register", registration_id="ab" * 32, apns_environment="sandbox")
    assert done.data["registration_id"] == "ab" * 32
    shown = mobile.shown(client)
    assert (shown["state"], shown["platform"]) == ("subscribed", platform)
    assert shown["apns_environment"] == ("sandbox" if platform == "ios" else None)


def test_android_gets_its_settings_even_when_there_are_none(phone: Open) -> None:
    begun = phone("android").send("init", device_id=None)
    names = ("application_id", "project_id", "sender_id", "api_key")
    assert begun.data["fcm_app"] == dict.fromkeys(names, "")
    assert "fcm_app" not in phone("ios").send("init", device_id=None).data


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://push.example.org/x",
        "http://fcm.googleapis.com/x",
        "https://fcm.googleapis.com:8443/x",
        "https://fcm.googleapis.com.example.org/x",
        "https://evilpush.apple.com.example/x",
        "https://user@fcm.googleapis.com/x",
        "https://127.0.0.1/x",
        "http://169.254.169.254/latest",
        "https://[::ffff:10.0.0.1]/x",
        "file:///etc/passwd",
        "not a url",
        "",
    ],
)
def test_an_endpoint_that_is_not_allowed_changes_nothing(
    phone: Open, client: Client, endpoint: str
) -> None:
    web = phone()
    web.login("ann", web_push_subscription=subscription())
    before = web.shown(client)

    refused = web.send(
        "register",
        web_push_subscription=subscription() | {"endpoint": endpoint},
        user_external_id="bob",
        subscribed=False,
    )
    assert (refused.status, refused.code) == (422, "ValidationError")
    switched = web.send(
        "subscription",
        web_push_subscription=subscription() | {"endpoint": endpoint},
        subscribed=False,
    )
    assert switched.status == 422
    after = web.shown(client)
    assert {**after, "last_active_at": None} == {**before, "last_active_at": None}


@pytest.mark.parametrize(
    "keys",
    [{}, {"p256dh": "AA", "auth": "AA"}, {"p256dh": 1, "auth": None}, None, "x", {"p256dh": "é"}],
)
def test_keys_that_cannot_encrypt_are_rejected(phone: Open, keys: Any) -> None:
    answer = phone().send("register", web_push_subscription=subscription() | {"keys": keys})
    assert (answer.status, answer.code) == (422, "ValidationError")


def test_a_point_beside_the_curve_is_rejected(phone: Open) -> None:
    wanted = subscription()
    wanted["keys"]["p256dh"] = "BA" + "A" * 85
    assert phone().send("register", web_push_subscription=wanted).status == 422


def test_push_is_switched_off_and_on(phone: Open, client: Client) -> None:
    web = phone()
    web.send("register", web_push_subscription=subscription())
    off = web.send("subscription", subscribed=False)
    assert off.data["subscribed"] is False
    assert web.shown(client)["reason"] == "opted_out"
    denied = web.send("subscription", subscribed=True, permission_status="denied")
    assert denied.data["subscribed"] is False
    assert web.shown(client)["reason"] == "permission_denied"
    assert web.send("subscription", subscribed=True, permission_status="authorized").data[
        "subscribed"
    ]


def test_a_subscription_belongs_to_one_device(phone: Open, client: Client) -> None:
    first, second, same = phone(), phone(), subscription()
    first.send("register", web_push_subscription=same)
    second.send("register", web_push_subscription=same)
    assert first.shown(client)["reason"] == "replaced"
    assert first.shown(client)["registration_token_present"] is False
    assert second.shown(client)["state"] == "subscribed"


# --- identity ---


def test_login_links_a_contact_and_logout_unlinks_it(phone: Open, client: Client) -> None:
    web = phone()
    done = web.login("ann", user_email="Ann@b.example", web_push_subscription=subscription())
    assert done.data["external_user_id"] == "ann"
    contact_id = web.shown(client)["contact_id"]
    contact = client.get(f"/contacts/{contact_id}").data
    assert (contact["external_id"], contact["email"]) == ("ann", "Ann@b.example")
    listed = client.get(f"/contacts/{contact_id}/devices").data
    assert [each["device_id"] for each in listed] == [web.device_id]

    web.send("register", preserve_user_identity=True)
    assert web.shown(client)["contact_id"] == contact_id
    web.send("register", clear_user_identity=True, user_external_id="ann")
    assert web.shown(client)["contact_id"] is None
    web.login("ann")
    web.send("register")
    assert web.shown(client)["contact_id"] is None
    assert web.shown(client)["state"] == "subscribed"


def test_a_login_fills_what_a_contact_lacks_and_changes_nothing(
    phone: Open, client: Client
) -> None:
    ann = new_contact(client, external_id="ann", email="ann@b.example")
    bob = new_contact(client, email="bob@b.example")
    web = phone()
    web.login("ann", user_email="evil@b.example")
    assert web.shown(client)["contact_id"] == ann
    assert client.get(f"/contacts/{ann}").data["email"] == "ann@b.example"
    web.login("bob", user_email="bob@b.example")
    assert web.shown(client)["contact_id"] == bob
    assert client.get(f"/contacts/{bob}").data["external_id"] == "bob"
    web.login("carl", user_email="bob@b.example")
    carl = client.get(f"/contacts/{web.shown(client)['contact_id']}").data
    assert (carl["external_id"], carl["email"]) == ("carl", None)


@pytest.mark.parametrize("identity", ["undefined", "null", "", " ", "x" * 256, 7, {}, "a\x00b"])
def test_a_placeholder_or_unusable_identity_is_nobody(
    phone: Open, client: Client, identity: Any
) -> None:
    web = phone("ios")
    assert web.send("register", user_external_id=identity).status == 200
    assert web.shown(client)["contact_id"] is None


def test_devices_follow_a_merge_and_its_undoing(phone: Open, client: Client) -> None:
    web, other = phone(), phone()
    web.login("ann")
    other.login("bob")
    ann, bob = web.shown(client)["contact_id"], other.shown(client)["contact_id"]
    merged = send(client, "POST", f"/contacts/{ann}/merge", **{"from": bob})
    assert merged.status == 201, merged.body
    listed = client.get(f"/contacts/{bob}/devices").data
    assert {each["device_id"] for each in listed} == {web.device_id, other.device_id}
    assert client.request("POST", f"/merges/{merged.data['id']}/undo").status == 200
    assert [each["device_id"] for each in client.get(f"/contacts/{ann}/devices").data] == [
        web.device_id
    ]


# --- events ---


def test_an_event_of_a_linked_device_is_one_of_the_contact(phone: Open, client: Client) -> None:
    web = phone()
    web.login("ann")
    answer = web.track("checkout.started", properties={"total": 1.50, "sku": "A"})
    assert (answer.status, answer.data) == (200, {"accepted": True})
    event = processed(client, "checkout.started")
    assert event["payload"] == {"total": 1.50, "sku": "A"}
    assert event["source"] == "client"
    assert event["contact_id"] == web.shown(client)["contact_id"]


@pytest.mark.parametrize(
    ("name", "becomes"),
    [
        ("Checkout Started!", "client.checkout_started"),
        ("sendrealm.push.open", "client.sendrealm_push_open"),
        ("screen-view", "client.screen_view"),
        ("$pageview", "client.pageview"),
        ("Größe", "client.groe"),
        ("a..b", "client.a_b"),
    ],
)
def test_other_names_keep_the_original(
    phone: Open, client: Client, name: str, becomes: str
) -> None:
    web = phone()
    web.login("ann")
    assert web.track(name, properties={"n": 1}).data == {"accepted": True}
    assert processed(client, becomes)["payload"] == {"n": 1, "client_event": name}


def test_names_in_other_scripts_stay_apart(phone: Open, client: Client) -> None:
    web = phone()
    web.login("ann")
    for name in ("购买", "登录"):
        assert web.track(name).data == {"accepted": True}
    found = events(client, "client.*")
    assert len({each["event"] for each in found}) == 2


def test_an_anonymous_device_keeps_events_and_tags_until_login(phone: Open, client: Client) -> None:
    mobile = phone("android")
    for number in range(5):
        assert mobile.track("viewed", properties={"n": number}).data == {"accepted": True}
    mobile.send("tags", tags={"plan": "pro", "old": 1, "email": "evil@b.example"})
    mobile.send("tags", tags={"old": None})
    assert mobile.shown(client)["kept_events"] == 5
    assert events(client, "viewed") == []

    mobile.login("ann")
    wait_until(lambda: len(events(client, "viewed")) == 5, WAIT_SECONDS_MAX)
    assert [each["payload"]["n"] for each in reversed(events(client, "viewed"))] == [0, 1, 2, 3, 4]
    shown = mobile.shown(client)
    assert shown["kept_events"] == 0
    contact = client.get(f"/contacts/{shown['contact_id']}").data
    assert contact["properties"] == {"plan": "pro"}
    assert contact["email"] is None
    mobile.send("tags", tags={"plan": None, "vip": True})
    assert client.get(f"/contacts/{shown['contact_id']}").data["properties"] == {"vip": True}


def test_tags_change_only_what_tags_have_set(phone: Open, client: Client) -> None:
    owned = {"plan": "free", "seats": 3}
    contact_id = new_contact(client, external_id="ann", properties=owned)
    path = f"/contacts/{contact_id}"

    def properties() -> dict[str, Any]:
        found: dict[str, Any] = client.get(path).data["properties"]
        return found

    mobile = phone("android")
    mobile.send("tags", tags={"plan": "pro", "seats": None, "city": "Riga"})
    mobile.login("ann")
    assert properties() == owned | {"city": "Riga"}
    mobile.send("tags", tags={"plan": None, "seats": 9, "city": "Oslo", "old": 1})
    assert properties() == owned | {"city": "Oslo", "old": 1}
    mobile.send("tags", tags={"old": None})
    mobile.send("tags", tags={"old": 2})
    assert properties() == owned | {"city": "Oslo", "old": 2}

    # From now on the server has the city, even with the value that the tag gave it.
    send(client, "PATCH", path, properties={"city": "Oslo", "old": None, "plan": None})
    mobile.send("tags", tags={"city": "Rome", "plan": "pro"})
    assert properties() == {"seats": 3, "city": "Oslo", "plan": "pro"}


def test_events_change_what_tags_have_set(phone: Open, client: Client) -> None:
    mobile = phone()
    mobile.login("ann")
    mobile.send("tags", tags={"plan": "pro"})
    contact_id = mobile.shown(client)["contact_id"]
    paid = {"external_id": "ann", "payload": {"$set": {"plan": "x"}}}
    send(client, "POST", "/events", event="paid", **paid)
    path = f"/contacts/{contact_id}"
    wait_until(lambda: client.get(path).data["properties"] == {"plan": "x"}, WAIT_SECONDS_MAX)
    mobile.send("tags", tags={"plan": "pro"})
    assert client.get(path).data["properties"] == {"plan": "x"}


def test_a_key_stores_an_event_once_before_and_after_the_login(phone: Open, client: Client) -> None:
    mobile = phone("android")
    for _ in range(2):
        assert mobile.track("bought", idempotency_key="bought-1").data == {"accepted": True}
    assert mobile.shown(client)["kept_events"] == 1
    mobile.login("ann")
    mobile.track("bought", idempotency_key="bought-1", properties={"other": 1})
    mobile.track("bought", idempotency_key="bought-2")
    assert len(events(client, "bought")) == 2


def in_parallel(work: Sequence[Callable[..., Response]], port: int) -> list[Response]:
    """Runs calls on as many connections as there are threads."""
    answers: list[Response] = []
    threads = 8
    together = threading.Barrier(threads)

    def run(part: Sequence[Callable[..., Response]]) -> None:
        client = Client(port, None)
        together.wait()
        answers.extend(each(client) for each in part)
        client.close()

    running = [threading.Thread(target=run, args=(work[n::threads],)) for n in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return answers


def test_two_flushes_of_one_queue_at_once_store_each_event_once(
    phone: Open, client: Client, server: HttpServer
) -> None:
    mobile = phone("android")
    queued = [
        lambda client, n=n: Phone(client, mobile.app_id, "android", mobile.device_id).track(
            "queued", idempotency_key=f"queued-{n}", properties={"n": n}
        )
        for n in range(100)
    ]
    login = [lambda client: Phone(client, mobile.app_id, "android", mobile.device_id).login("ann")]
    answers = in_parallel([*queued[:30], *login, *queued[30:], *queued], server.port)
    assert {answer.status for answer in answers} == {200}
    mobile.login("ann")
    found: set[int] = set()

    def all_there() -> bool:
        pages, cursor = [], ""
        while True:
            answer = client.get(f"/events?event=queued&limit=200{cursor}")
            pages += answer.data
            following = answer.json()["next_cursor"]
            if following is None:
                break
            cursor = f"&cursor={following}"
        numbers = [each["payload"]["n"] for each in pages]
        assert len(numbers) == len(set(numbers))
        found.update(numbers)
        return found == set(range(100))

    wait_until(all_there, WAIT_SECONDS_MAX)
    assert mobile.shown(client)["kept_events"] == 0


def test_a_device_that_comes_back_flushes_a_thousand_events(
    phone: Open, client: Client, server: HttpServer
) -> None:
    mobile = phone("ios")
    work = [
        lambda client, n=n: Phone(client, mobile.app_id, "ios", mobile.device_id).track(
            "offline", idempotency_key=f"offline-{n}", properties={"n": n}
        )
        for n in range(1000)
    ]
    answers = in_parallel(work, server.port)
    assert {(answer.status, answer.data["accepted"]) for answer in answers} == {(200, True)}
    assert mobile.shown(client)["kept_events"] == 1000
    beyond = mobile.track("offline", idempotency_key="one-more")
    assert (beyond.status, beyond.data["accepted"]) == (200, False)
    mobile.login("ann")
    contact_id = mobile.shown(client)["contact_id"]
    assert mobile.shown(client)["kept_events"] == 0
    numbers: list[int] = []
    cursor: str | None = ""
    while cursor is not None:
        target = f"/events?event=offline&contact_id={contact_id}&limit=200"
        answer = client.get(target + (f"&cursor={cursor}" if cursor else ""))
        numbers += [each["payload"]["n"] for each in answer.data]
        cursor = answer.json()["next_cursor"]
    assert sorted(numbers) == list(range(1000))


def test_payloads_of_clients_change_no_contact(phone: Open, client: Client) -> None:
    web = phone()
    web.login("ann")
    web.track("hello", properties={"$set": {"email": "evil@b.example", "plan": "pro"}})
    event = processed(client, "hello")
    contact = client.get(f"/contacts/{event['contact_id']}").data
    assert (contact["email"], contact["properties"]) == (None, {})


def test_a_device_of_a_deleted_contact_is_anonymous(phone: Open, client: Client) -> None:
    web = phone()
    web.login("ann")
    contact_id = web.shown(client)["contact_id"]
    assert client.request("DELETE", f"/contacts/{contact_id}").status == 204
    web.track("later")
    assert web.shown(client)["kept_events"] == 1
    web.login("bob")
    assert processed(client, "later")["contact_id"] == web.shown(client)["contact_id"]


# --- notifications ---


def test_a_tap_is_one_opening_with_its_button(
    phone: Open, client: Client, server: HttpServer, project: Project
) -> None:
    web = phone()
    web.login("ann")
    notification_id = add_notification(server, project.id, web)
    for name, more in (
        ("delivery", {}),
        ("foreground_display", {}),
        ("open", {}),
        ("click", {"action_id": "buy"}),
        ("notification_action", {"action_id": "buy"}),
        ("open", {}),
    ):
        properties = {"notification_id": notification_id, **more}
        answer = web.track(name, notification_id=notification_id, properties=properties)
        assert answer.data == {"accepted": True}
    event = processed(client, "sendrealm.push.open")
    payload = event["payload"]
    assert (payload["notification_id"], payload["action_id"]) == (notification_id, "buy")
    assert (payload["app_id"], payload["device_id"]) == (web.app_id, web.device_id)
    assert payload["platform"] == "web"
    web.track("open", notification_id=notification_id)
    (shown,) = web.shown(client)["notifications"]
    assert shown["opened_at"] is not None
    assert len(events(client, "sendrealm.push.*")) == 1


def test_a_dismissal_on_ios_is_no_opening(
    phone: Open, client: Client, server: HttpServer, project: Project
) -> None:
    mobile = phone("ios")
    mobile.login("ann")
    dismissed, opened = (add_notification(server, project.id, mobile) for _ in range(2))
    for name in ("open", "dismiss"):
        mobile.track(name, notification_id=dismissed)
    mobile.track("open", notification_id=opened)
    assert processed(client, "sendrealm.push.open")["payload"]["notification_id"] == opened


def test_reports_of_other_devices_and_of_unknown_notifications_count_nothing(
    phone: Open, client: Client, server: HttpServer, project: Project
) -> None:
    web, other = phone(), phone()
    web.login("ann")
    other.login("bob")
    notification_id = add_notification(server, project.id, web)
    for each in (notification_id, str(uuid.uuid4()), "none", None):
        answer = other.track("open", notification_id=each)
        assert (answer.status, answer.data["accepted"]) == (200, False)
    (shown,) = web.shown(client)["notifications"]
    assert shown["opened_at"] is None


def test_optional_events_are_emitted_where_the_project_wants_them(
    phone: Open, client: Client, server: HttpServer, project: Project
) -> None:
    web = phone()
    web.login("ann")
    wanted = ["sendrealm.push.delivery", "sendrealm.push.click"]
    server.set_policy(project, "optional_events", wanted)
    notification_id = add_notification(server, project.id, web)
    for name in ("delivery", "delivery", "dismiss"):
        web.track(name, notification_id=notification_id)
    web.track("click", notification_id=notification_id, properties={"action_id": "buy"})
    wait_until(lambda: len(events(client, "sendrealm.push.*")) == 2, WAIT_SECONDS_MAX)
    assert {each["event"] for each in events(client, "sendrealm.push.*")} == set(wanted)


# --- other origins ---


def test_a_preflight_is_answered_for_every_origin(anybody: Client) -> None:
    asked = {
        "Origin": SHOP,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-sendrealm-sdk",
    }
    for path in ("init", "register", "subscription", "track", "tags", "live-activities/tokens"):
        answer = anybody.request("OPTIONS", f"/v1/{path}", headers=asked)
        assert answer.status == 204
        assert answer.headers["access-control-allow-origin"] == SHOP
        allowed = answer.headers["access-control-allow-headers"].split(", ")
        assert {"content-type", "x-sendrealm-sdk"} <= set(allowed)
        assert "POST" in answer.headers["access-control-allow-methods"]


def test_a_request_is_checked_against_the_origins_of_its_app(
    client: Client, anybody: Client
) -> None:
    app = new_app(client, origins=["https://SHOP.example.org:443/"])
    assert app["origins"] == [SHOP]
    web = Phone(anybody, app["id"])
    for origin, status in ((SHOP, 200), ("https://evil.example.org", 403), ("null", 403)):
        web.headers = {"Origin": origin}
        for path, more in (("init", {}), ("register", {}), ("track", {"event_type": "a"})):
            answer = web.send(path, **more)
            assert answer.status == status, (origin, path, answer.body)
            assert answer.headers["access-control-allow-origin"] == origin
            assert "Origin" in answer.headers["vary"]
    web.headers = {}
    assert web.send("init").status == 200


def test_without_origins_every_page_may_use_an_app(phone: Open) -> None:
    web = phone()
    web.headers = {"Origin": "https://anywhere.example", "x-sendrealm-sdk": "sendrealm-react/0.1.3"}
    answer = web.send("init")
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "https://anywhere.example"


# --- what phones would send for ever ---


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"event_type": ""},
        {"event_type": "   "},
        {"event_type": 7},
        {"event_type": "x" * 501},
        {"event_type": "a", "properties": []},
        {"event_type": "a", "properties": {"text": "x" * 70_000}},
        {"event_type": "a", "properties": {"text": "x" * 1_100_000}},
        {"event_type": "a", "properties": {"text": "x" * 5_000_000}},
        {"event_type": "a", "properties": {"a": "\x00"}},
        {"event_type": "a", "properties": {"a": "\ud800"}},
        {"event_type": "a", "device_id": None},
        {"event_type": "a", "device_id": "../x y"},
        {"event_type": "a", "device_id": "x" * 65},
    ],
)
def test_an_unacceptable_event_is_listed_and_not_an_error(
    phone: Open, client: Client, members: dict[str, Any]
) -> None:
    answer = phone("android").send("track", **members)
    assert answer.status == 200, answer.body
    assert answer.data["accepted"] is False
    wait_until(lambda: len(client.get("/rejections").data) == 1, WAIT_SECONDS_MAX)
    assert client.get("/rejections").data[0]["route"] == "POST /v1/track"


@pytest.mark.parametrize(("path", "member"), [("track", "properties"), ("tags", "tags")])
@pytest.mark.parametrize("levels", [150, 250, 50_000])
def test_what_nests_too_deep_is_no_error(
    phone: Open, anybody: Client, path: str, member: str, levels: int
) -> None:
    mobile = phone("android")
    names = {"app_id": mobile.app_id, "device_id": mobile.device_id, "event_type": "a"}
    nested = '{"a": ' + "[" * levels + "]" * levels + "}"
    body = json.dumps(names)[:-1] + f', "{member}": {nested}}}'
    answer = anybody.post(f"/v1/{path}", body.encode())
    assert answer.status == 200, answer.body
    assert mobile.track("after").data == {"accepted": True}
    # A developer sees the mistake where nothing is sent again.
    if levels > 200:
        assert anybody.post("/v1/register", body.encode()).status == 400


def test_tags_of_more_than_a_mebibyte_are_no_error(phone: Open, client: Client) -> None:
    mobile = phone("ios")
    mobile.login("ann")
    answer = mobile.send("tags", tags={"text": "x" * 1_100_000})
    assert answer.status == 200, answer.body
    assert answer.data["accepted"] is False
    contact_id = mobile.shown(client)["contact_id"]
    assert client.get(f"/contacts/{contact_id}").data["properties"] == {}


def test_a_reason_names_what_the_client_sent(phone: Open) -> None:
    """What becomes the payload is called `properties` by the client."""
    mobile = phone("android")
    large = mobile.track("a", properties={"a": "x" * 70_000})
    assert large.data["reason"].startswith("properties: is 70")
    dots = "must be 1 to 64 letters, digits and . _ : -"
    assert (
        mobile.send("track", event_type="a", device_id="a b").data["reason"] == f"device_id: {dots}"
    )


@pytest.mark.parametrize("platform", ["android", "ios"])
def test_phones_get_no_error_for_members_that_cannot_be_used(phone: Open, platform: str) -> None:
    junk: list[Any] = [None, 7, True, [], {}, "", "x" * 5000, "\x00", "\ud800", 1e300]
    mobile = phone(platform)
    names = ("registration_id", "apns_device_token", "apns_environment", "user_external_id")
    others = ("user_email", "subscribed", "permission_status", "environment", "device_locale")
    for value in junk:
        members = dict.fromkeys((*names, *others, "idempotency_key", "tags"), value)
        for path in ("init", "register", "subscription", "tags"):
            assert mobile.send(path, **members).status == 200, (path, value)
        answer = mobile.send("track", event_type="a", idempotency_key=value, notification_id=value)
        assert answer.status == 200


def test_a_wrong_app_or_body_is_an_error(anybody: Client, phone: Open) -> None:
    web = phone()
    assert Phone(anybody, "nosuchapp0").send("init").status == 404
    for app_id in (None, 7, "", "x" * 65, "a b", "../x"):
        answer = web.send("init", app_id=app_id)
        assert (answer.status, answer.code) == (422, "ValidationError")
    for body in (b"", b"[]", b"null", b"{", b'{"app_id":"a","app_id":"b"}', b"\xff"):
        assert anybody.post("/v1/track", body).status == 400
    assert anybody.post("/v1/track", b"{}", body_type="text/plain").status == 415
    assert web.send("init", platform="windows").status == 422
    assert web.send("register", device_id=None).status == 422
    assert web.send("init", device_model="y" * 1_100_000).status == 413
    assert web.send("track", event_type="a", properties={"x": "y" * 5_300_000}).status == 413


def test_the_other_routes_answer_what_clients_expect(phone: Open) -> None:
    mobile = phone("android")
    assert mobile.send("live-activities/tokens", token="x").status == 200
    assert mobile.send("live-activities/tokens", "DELETE", token="x").status == 200
    synced = mobile.send("notification-channels/sync")
    assert (synced.status, synced.data["channels"]) == (200, [])
    assert synced.data["synced_at"].endswith("Z")
    assert json.loads(synced.body)["status"] == 200
