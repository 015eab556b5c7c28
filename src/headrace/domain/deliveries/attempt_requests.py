"""The request of an attempt, derived from what is stored, and the headers of its response.

Nothing of a request is stored with the attempt that can be derived: the body comes from the event,
URL and names of own headers from the version of the webhook, and the rest is the same for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from headrace.domain.deliveries.body_format import BodyFormat
from headrace.domain.deliveries.own_headers import MASK

#: Versions of a webhook besides the current one; attempts with an older one show no request.
EARLIER_KEPT = 20
#: Of the headers of a response, with their names.
HEADERS_CHARACTERS_MAX = 2048
#: Of the body of a request that is shown, in UTF-8; the event itself is shown elsewhere.
BODY_BYTES_MAX = 4096
# Parts of the names of headers whose values are secrets of the endpoint.
_SECRET_PARTS = (
    "cookie",
    "token",
    "secret",
    "password",
    "api-key",
    "apikey",
    "authoriz",
    "session",
)


class WebhookVersion(msgspec.Struct, frozen=True):
    """What the requests of a webhook depended on."""

    number: int
    url: str
    #: Of its own headers.
    header_names: tuple[str, ...] = ()
    format: BodyFormat = BodyFormat.HEADRACE


class AttemptRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The request of one attempt, without its body and without headers that are always the same."""

    method: str = "POST"
    url: str
    headers: Annotated[
        dict[str, str],
        msgspec.Meta(description="`***` for the signature and the values of own headers."),
    ]


def request_of(
    versions: Sequence[WebhookVersion], number: int | None, delivery_id: str, signed_s: int | None
) -> AttemptRequest | None:
    """The request of an attempt; None when none was made, or nothing is known about it."""
    version = next((one for one in versions if one.number == number), None)
    if version is None or signed_s is None:
        return None
    headers = {
        "content-type": version.format.content_type,
        "webhook-id": delivery_id,
        "webhook-timestamp": str(signed_s),
        "webhook-signature": f"v1,{MASK}",
        **{name.lower(): MASK for name in version.header_names},
    }
    return AttemptRequest(url=version.url, headers=headers)


def without_path(request: AttemptRequest) -> AttemptRequest:
    """The request without the path of its URL, which can hold a secret of the owner's making."""
    parts = urlsplit(request.url)
    url = f"{parts.scheme}://{parts.netloc}/{'…' if parts.path.strip('/') or parts.query else ''}"
    return msgspec.structs.replace(request, url=url)


def shown_value(name: str, value: str) -> str:
    """The value of a response's header as it may be stored; `name` in lower case."""
    return MASK if any(part in name for part in _SECRET_PARTS) else value


def read_response_headers(text: str | None) -> dict[str, str] | None:
    """Stored headers by name; several of one name are joined by commas. None: there are none."""
    if text is None:
        return None
    found: dict[str, str] = {}
    for line in text.split("\n"):
        name, _, value = line.partition(": ")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def versions_of(
    number: int, url: str, header_names: tuple[str, ...], body_format: str, earlier: str | None
) -> tuple[WebhookVersion, ...]:
    """All versions of a webhook that are known, from its columns; the current one last."""
    current = WebhookVersion(number, url, header_names, BodyFormat(body_format))
    return (*read_earlier(earlier), current)


def earlier_with(version: WebhookVersion, earlier: Sequence[WebhookVersion]) -> str:
    """The text of earlier versions with one more."""
    return msgspec.json.encode([*earlier, version][-EARLIER_KEPT:]).decode()


def read_earlier(text: str | None) -> tuple[WebhookVersion, ...]:
    """Earlier versions from their text, the oldest first."""
    return () if text is None else msgspec.json.decode(text, type=tuple[WebhookVersion, ...])
