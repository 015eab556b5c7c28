"""Uses the generated Python client against a running server: `python use.py URL KEY`."""

from __future__ import annotations

import json
import sys

from headrace_generated import AuthenticatedClient
from headrace_generated.api.events import get_trace, ingest_batch, ingest_event, list_events
from headrace_generated.api.topics import create_topic, get_topic
from headrace_generated.models import BatchInput, Deduplicated, EventInput, TopicCreate

client = AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2])
event = EventInput(event="order.completed", external_id="py_1", idempotency_key="py-1")
other = EventInput(event="order.completed", external_id="py_1", idempotency_key="py-2")

first = ingest_event.sync(client=client, body=event)
repeat = ingest_event.sync(client=client, body=event)
batch = ingest_batch.sync(client=client, body=BatchInput(events=[event, other]))
topic = create_topic.sync(client=client, body=TopicCreate(name="From Python"))
wrong = get_topic.sync(first.data.id, client=client)
listed = list_events.sync(client=client, limit=10, external_id="py_1")
trace = get_trace.sync(first.data.id, client=client)

print(
    json.dumps(
        {
            "same": first.data.id == repeat.data.id,
            "deduplicated": isinstance(repeat.data, Deduplicated),
            "batch": [item.status for item in batch.data],
            "topic": topic.data.name,
            "wrong": wrong.error.code,
            "listed": len(listed.data),
        }
    )
)
assert trace.data.event.id == first.data.id
assert listed.data[0].received_at.tzinfo is not None
