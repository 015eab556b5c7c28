"""Hundreds of real webhook bodies through every ingest route, each read back byte for byte."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import pytest

from tests.support.raw_http import Client
from tests.support.real_events import RealEvent, real_events

#: Below the 5 MiB limit of a batch.
BATCH_BYTES = 4 * 1024 * 1024


def batches(events: list[RealEvent]) -> Iterator[list[RealEvent]]:
    batch: list[RealEvent] = []
    size = 0
    for event in events:
        if size + len(event.text) > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += len(event.text) + 1
    yield batch


def assert_kept(client: Client, events: list[RealEvent], ids: list[str]) -> None:
    for event, event_id in zip(events, ids, strict=True):
        shown = client.get(f"/events/{event_id}").body
        assert event.is_kept_in(shown), event.name


def test_sent_one_by_one(client: Client) -> None:
    events = real_events()
    answers = [client.post("/events", event.text) for event in events]

    assert {answer.status for answer in answers} == {202}
    assert [answer.data["event"] for answer in answers] == [event.name for event in events]
    assert_kept(client, events, [answer.data["id"] for answer in answers])


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("lines", [False, True], ids=["array", "lines"])
def test_sent_in_batches(client: Client, lines: bool, packed: bool) -> None:
    events = real_events(one_line=lines, keys="k")
    ids = []
    for batch in batches(events):
        texts = [event.text for event in batch]
        body = b"\n".join(texts) if lines else b'{"events":[' + b",".join(texts) + b"]}"
        answer = client.post(
            "/events/batch",
            gzip.compress(body, 1) if packed else body,
            body_type="application/x-ndjson" if lines else "application/json",
            headers={"Content-Encoding": "gzip"} if packed else {},
        )
        assert answer.json()["accepted"] == len(batch)
        ids += [item["data"]["id"] for item in answer.data]

    assert_kept(client, events, ids)
