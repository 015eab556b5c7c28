"""segment-analytics-python: two rounds of messages; between them it waits for a line."""

import os
import sys

from segment.analytics.client import Client

client = Client(os.environ["WRITE_KEY"], host=os.environ["HOST"], max_retries=5)
for number in range(3):
    client.track("u1", "Order Completed", {"ref": number, "total": 49.9})
client.identify("u1", {"email": "mike@example.com", "address": {"city": "Wien"}})
client.page("u1", "Docs", "Home", {"path": "/"})
client.screen("u1", None, "Home")
client.group("u1", "acme", {"name": "Acme"})
client.alias("a1", "u1")
client.flush()
print("round", flush=True)
sys.stdin.readline()
client.track(None, "Second Round", anonymous_id="a2")
client.shutdown()
