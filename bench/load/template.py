"""The requests for every contender: one text for both generators."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

#: Replaced in every event by random hexadecimal digits: keys come from many callers, so they do not
#: arrive in sorted order, which would favour every index.
KEY = "@KEY@"
KEY_DIGITS = 16
#: Replaced in every event by random decimal digits. Comes before the first `KEY` of an event.
USER = "@USER@"
USER_DIGITS = 6
#: `accept.lua` draws from this many.
WRK_PEOPLE = 100_000

_EVENT = (
    '{"event":"order.completed","external_id":"user_@USER@",'
    '"payload":{"order_id":"ord_@KEY@","total":129.90,"currency":"EUR",'
    '"items":[{"sku":"A-100","qty":2},{"sku":"B-220","qty":1}],'
    '"note":"leave at the door, please ring twice","coupon":null},'
    '"occurred_at":"@NOW@","idempotency_key":"@KEY@"}'
)


class Template(NamedTuple):
    """A whole HTTP request with the placeholders `KEY` and `USER`, once per event."""

    text: str
    events: int
    #: Of every response.
    status: int = 202

    def write(self, path: Path) -> Path:
        """Write the text to a file for a generator in another process."""
        path.write_bytes(self.text.encode("ascii"))
        return path


def event_template() -> str:
    """Return the JSON text of one event, with the placeholders."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return _EVENT.replace("@NOW@", now)


def single(port: int, api_key: str) -> Template:
    """Return `POST /events` with one event."""
    return Template(text=_request("/events", port, api_key, event_template()), events=1)


def batch(port: int, api_key: str, events: int) -> Template:
    """Return `POST /events/batch` with `events` events."""
    body = '{"events":[' + ",".join([event_template()] * events) + "]}"
    return Template(text=_request("/events/batch", port, api_key, body), events=events)


def register(port: int, app_id: str, push_origin: str, p256dh: str, auth: str) -> Template:
    """Return `POST /v1/register` of a website: a new address and a login at each.

    The devices are told apart by `USER`, addresses and people by `KEY`.
    """
    body = (
        f'{{"app_id":"{app_id}","platform":"web","device_id":"00000000-0000-4000-8000-000000@USER@",'
        '"environment":"production","permission_status":"authorized","subscribed":true,'
        '"sdk_version":"0.1.3","device_locale":"en-US","timezone":"Europe/Riga",'
        f'"web_push_subscription":{{"endpoint":"{push_origin}/push/@KEY@",'
        f'"keys":{{"p256dh":"{p256dh}","auth":"{auth}"}}}},'
        '"user_external_id":"user_@KEY@"}'
    )
    return Template(text=_request("/v1/register", port, "", body), events=1, status=200)


def _request(path: str, port: int, api_key: str, body: str) -> str:
    return (
        f"POST {path} HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{port}\r\n"
        f"Authorization: Bearer {api_key}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {_length(body)}\r\n"
        "\r\n"
        f"{body}"
    )


def _length(body: str) -> int:
    """Length once the placeholders are filled in: both have a fixed number of digits."""
    keys, users = body.count(KEY), body.count(USER)
    filled = keys * (KEY_DIGITS - len(KEY)) + users * (USER_DIGITS - len(USER))
    return len(body) + filled
