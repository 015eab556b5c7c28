"""Mail of a shop: sent through the API, then awaited until it has a final status."""

from __future__ import annotations

from typing import Any

from tests.backoffice.cast import Person
from tests.backoffice.shop import Shop

#: Hostile HTML with everything that could cause a request or run.
RUDE_HTML = (
    "<html><head><style>p{color:#063}</style><base href='https://evil.example/'>"
    "<meta http-equiv=refresh content='0;url=https://evil.example/r'></head><body>"
    "<p style='color:#063'>It is on its <b>way</b>.</p>"
    "<script>parent.document.title='x'</script><img src=https://evil.example/p.gif>"
    "<img src='data:image/gif;base64,R0lGODlhAQABAAAAACw=' alt=dot onerror=alert(1)>"
    "<a href='https://evil.example/go' target=_top>Track it</a>"
    "<form action='https://evil.example/f'><button>Send</button></form></body></html>"
)


def send_mail(shop: Shop, **members: Any) -> str:
    """Send a mail to one person; the id of its message."""
    body: dict[str, Any] = {
        "from": "Shop <news@example.org>",
        "to": ["ann@b.example"],
        "subject": "Your order",
        "text": "It is on its way.",
    }
    answer = shop.client.post("/emails", json=body | members)
    assert answer.status_code == 201, answer.text
    message_id: str = answer.json()["data"]["messages"][0]["id"]
    return message_id


def send_and_wait(shop: Shop, person: Person, status: str = "sent", **members: Any) -> str:
    """Send a mail and wait until its page shows a status; the id of its message."""
    message_id = send_mail(shop, **members)
    wait_for(shop, person, message_id, status)
    return message_id


def wait_for(shop: Shop, person: Person, message_id: str, status: str) -> None:
    """Wait until the page of a message shows a status."""
    path = f"{shop.path}/messages/{message_id}"
    shop.wait(lambda: f">{status}</span>" in person.get(path).text)


def reveal(shop: Shop, person: Person) -> None:
    """Show a person the project's personal data unmasked."""
    assert person.post(f"{shop.path}/reveal", {"back": "/backoffice"}).status_code == 303


def mask(shop: Shop, person: Person) -> None:
    """Mask it again."""
    assert person.post(f"{shop.path}/mask", {"back": "/backoffice"}).status_code == 303


def audited(shop: Shop, person: Person, action: str) -> str:
    """The project's audit log for one kind of action."""
    return person.get(f"{shop.path}/audit?action={action}").text


def said(person: Person, location: str) -> str:
    """The page after the redirect of a change, with its message."""
    return person.client.get(location).text
