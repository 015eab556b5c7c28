"""Bodies in the format of CloudEvents have what its specification requires."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import pytest

from headrace.delivery.webhook.body import webhook_body
from headrace.domain.deliveries.body_format import BodyFormat, check_format
from headrace.domain.timestamps import parse
from tests.delivery.samples import EVENT, event

#: CloudEvents 1.0.2, "Attribute naming convention" and "Required attributes".
REQUIRED = ("id", "source", "specversion", "type")
OPTIONAL = ("subject", "time", "datacontenttype", "dataschema", "data", "data_base64")


@pytest.mark.parametrize("external_id", ["customer-7", None])
def test_a_body_is_a_cloudevent(external_id: str | None) -> None:
    raw = webhook_body(event(external_id=external_id), BodyFormat.CLOUDEVENTS)
    body = json.loads(raw)
    assert set(REQUIRED) <= body.keys() <= {*REQUIRED, *OPTIONAL}
    assert all(isinstance(body[name], str) and body[name] for name in REQUIRED)
    assert body["specversion"] == "1.0"
    assert urlsplit(body["source"]).scheme == "urn"
    # Milliseconds, as in the API.
    assert parse(body["time"]) == EVENT.occurred_us // 1000 * 1000
    assert body.get("subject") == external_id
    # The payload byte for byte, as in the default format.
    assert EVENT.payload.encode() in raw
    assert body["data"] == json.loads(webhook_body(event(external_id=external_id)))["data"]


def test_unknown_formats_are_refused() -> None:
    assert check_format("cloudevents") is BodyFormat.CLOUDEVENTS
    with pytest.raises(ValueError, match="must be one of headrace, cloudevents"):
        check_format("xml")
