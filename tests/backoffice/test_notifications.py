"""Returned mail: listed, filtered, linked with its message, addresses masked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.backoffice.cast import Person
from tests.backoffice.mailing import mask, reveal, send_and_wait
from tests.backoffice.shop import Shop, open_shop, page
from tests.support.server import RunningServer

ADDRESS = "ann@b.example"


@pytest.fixture
def shop(server: RunningServer, numbers: Iterator[int], owner: Person) -> Iterator[Shop]:
    with open_shop(server, f"returned mail {next(numbers)}") as shop:
        mask(shop, owner)
        yield shop


def pass_on(shop: Shop, message_id: str, action: str, code: str) -> None:
    raw = (
        "From: MAILER-DAEMON@relay.example\r\nTo: news@example.org\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: message/delivery-status\r\n\r\n"
        f"Reporting-MTA: dns; relay.example\r\nOriginal-Envelope-Id: {message_id}\r\n\r\n"
        f"Final-Recipient: rfc822; {ADDRESS}\r\nAction: {action}\r\nStatus: {code}\r\n"
        "Diagnostic-Code: smtp; 550 5.1.1 <script>User unknown\r\n\r\n--b--\r\n"
    )
    answer = shop.client.post(
        "/mail/bounces", content=raw.encode(), headers={"Content-Type": "message/rfc822"}
    )
    assert answer.status_code == 200, answer.text


def test_what_came_back_is_listed_and_linked(owner: Person, shop: Shop) -> None:
    assert "Nothing came back yet" in page(owner, shop, "/notifications")
    message_id = send_and_wait(shop, owner)
    pass_on(shop, message_id, "delayed", "4.4.1")
    pass_on(shop, message_id, "failed", "5.1.1")
    text = page(owner, shop, "/notifications")
    assert "address suppressed" in text
    assert "&lt;script&gt;User unknown" in text
    assert f"{shop.path}/messages/{message_id}" in text
    assert ADDRESS not in text
    reveal(shop, owner)
    assert ADDRESS in page(owner, shop, "/notifications?kind=hard")
    assert "Nothing matches" in page(owner, shop, "/notifications?effect=delivered")
    assert "Nothing matches" in page(owner, shop, "/notifications?source=ses&before=x")
    page(owner, shop, "/notifications?message=x", 422)
    own = page(owner, shop, f"/messages/{message_id}")
    assert "What came back" in own
    assert f"/notifications?message={message_id}" in own
    assert "address suppressed" in page(owner, shop, f"/notifications?message={message_id}")
