"""What `headrace serve` prints when it is ready."""

from __future__ import annotations

from pathlib import Path

#: Addresses that mean "every interface" to a listener but cannot be connected to.
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - replaced, not bound

_SIGN_IN = """
Sign in to the backoffice (the link works once, for 24 hours):

  {link}
"""

_KEY_FILE = """
Secrets in the store are sealed with the key in {file}. Back it up in another place.
"""

_BODY = (
    '{"event": "order.completed", "external_id": "user_42", '
    '"payload": {"order_id": "A-1001", "total": 49.9}, "idempotency_key": "order-A-1001"}'
)


def url_of(host: str, port: int) -> str:
    """Address at which this machine reaches a server that listens on `host`."""
    reachable = _ANY.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def curl_line(url: str, key: str) -> str:
    """A curl command for a first event, ready to be pasted into a shell."""
    return (
        f"curl -sS -X POST {url}/events -H 'Authorization: Bearer {key}' "
        f"-H 'Content-Type: application/json' -d '{_BODY}'"
    )


_CAPTURES = (
    "Mail is only kept to be looked at in the backoffice; none is sent (HEADRACE_MAIL_RELAY)."
)


def welcome(
    url: str,
    key: str | None,
    link: str | None,
    *,
    captures: bool = False,
    key_file: Path | None = None,
) -> str:
    """The ready line, and on the first start the key, how to use it, and how to sign in.

    Args:
        captures: whether mail goes nowhere.
        key_file: the file with the keys that seal secrets, to be backed up.
    """
    ready = f"Headrace is ready on {url}"
    if captures:
        ready = f"{ready}\n{_CAPTURES}"
    if key is None:
        return ready
    return (
        f"{ready}\n\n"
        "First start: created project default and an API key with all scopes "
        "(ingest, read, manage, send).\n"
        f"This is the only time the key is shown:\n\n  {key}\n\n"
        f"Send a first event:\n\n  {curl_line(url, key)}\n"
        + (_KEY_FILE.format(file=key_file) if key_file else "")
        + (_SIGN_IN.format(link=link) if link else "")
    )
