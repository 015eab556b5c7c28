"""More events than the disk can store: rejected at once, before the body is read."""

from __future__ import annotations

import json
import threading

from headrace.pipeline.intake.commit_queue import EVENTS_MAX
from tests.faults.server import Faulty, ask_until
from tests.faults.strace import inject
from tests.support.raw_http import Client, Connection, Response, head_of

BATCH = 1000
#: How long the disk blocks, in microseconds: on a busy machine it takes seconds to fill the queue.
STALL_US = 10_000_000


def test_full_queue_responds_at_once_without_reading_the_body(faulty: Faulty) -> None:
    client = faulty.start(wrapper=inject(f"delay_enter={STALL_US}:when=12"))
    port = faulty.client().port
    answers: list[Response] = []
    enough = threading.Event()

    def flood(number: int) -> None:
        size = BATCH
        sender = Client(port, faulty.key)
        while size and not enough.is_set():
            events = [{"event": "flood", "external_id": f"{number}-{n}"} for n in range(size)]
            answer = sender.post("/events/batch", json.dumps({"events": events}))
            answers.append(answer)
            if answer.status == 503:
                # Smaller ones fill the remaining space.
                size //= 2
        sender.close()

    floods = [
        threading.Thread(target=flood, args=(number,)) for number in range(EVENTS_MAX // BATCH + 20)
    ]
    for thread in floods:
        thread.start()

    refused: list[Response] = []

    def overloaded() -> bool:
        with Connection(port) as connection:
            # Only the head: a response to it has not waited for the body.
            connection.send(head_of("POST", "/events", key=faulty.key, length=200))
            connection.socket.settimeout(0.3)
            try:
                refused.append(connection.answer())
            except TimeoutError:
                return False
        return True

    try:
        ask_until(overloaded)
    finally:
        enough.set()
    answer = refused[0]
    assert (answer.status, answer.code) == (503, "Overloaded")
    assert int(answer.headers["retry-after"]) >= 1
    # The rest is served meanwhile.
    assert client.get("/healthz").status == 200
    for thread in floods:
        thread.join()
    assert not any(thread.is_alive() for thread in floods)
    stored = sum(a.json()["accepted"] for a in answers if a.status == 200)
    assert {a.status for a in answers} == {200, 503}
    faulty.kill()
    assert len(faulty.stored_keys()) == stored
