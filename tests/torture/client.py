"""Clients that send events with unique keys and retry each until acknowledged.

A request without a response is sent again with the same key. They use raw HTTP, so that a lost
connection is visible and nothing is retried implicitly.
"""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

from tests.torture.ledger import Ledger, Verdict

#: Longest wait for one response. Only a hanging server is so slow.
ANSWER_SECONDS_MAX = 30.0
#: Share of requests that repeat an acknowledged event, and that are batches.
REPEATED_SHARE = 0.1
BATCH_SHARE = 0.1
BATCH_EVENTS_MAX = 40

_VERDICTS = {202: Verdict.ACCEPTED, 200: Verdict.DUPLICATE}


class Target:
    """The server's address, or that it is unavailable."""

    def __init__(self, ledger: Ledger, key: str) -> None:
        self.ledger = ledger
        self.key = key
        self.port = 0
        self.up = asyncio.Event()
        self.finishing = False
        #: Keys that several clients send at the same time.
        self.shared: list[str] = []


class Client:
    """One connection at a time, one request at a time."""

    def __init__(self, target: Target, name: str, seed: int) -> None:
        self._target = target
        self._name = name
        self._rng = random.Random(seed)
        self._count = 0
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._acknowledged: list[str] = []
        #: Responses so far that asked to retry later.
        self.refused = 0

    async def run(self) -> None:
        """Send until the run ends; every started request is retried until it has a response."""
        while not self._target.finishing:
            keys = self._choose()
            while not await self._send(keys):
                await self._target.up.wait()
            self._acknowledged = (self._acknowledged + keys)[-200:]
        self.disconnect()

    def _choose(self) -> list[str]:
        chance = self._rng.random()
        if chance < REPEATED_SHARE and self._acknowledged:
            return [self._rng.choice(self._acknowledged)]
        if chance < REPEATED_SHARE + BATCH_SHARE:
            fresh = [self._fresh() for _ in range(self._rng.randint(1, BATCH_EVENTS_MAX))]
            return [*fresh, fresh[0], *self._target.shared[-1:]]
        if chance < 0.3:
            if self._rng.random() < 0.3 or not self._target.shared:
                self._target.shared = [*self._target.shared[-20:], self._fresh()]
            return [self._rng.choice(self._target.shared)]
        return [self._fresh()]

    def _fresh(self) -> str:
        self._count += 1
        return f"{self._name}-{self._count}"

    async def _send(self, keys: list[str]) -> bool:
        """Send once; False without a response, or with one that asks for a retry."""
        events = [event_of(key) for key in keys]
        for event in events:
            self._target.ledger.invoke(event["idempotency_key"], json.dumps(event["payload"]))
        single = len(events) == 1
        body = json.dumps(events[0] if single else {"events": events})
        path = "/events" if single else "/events/batch"
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                status, answer = await self._exchange(path, body.encode())
        except TimeoutError:
            self.disconnect()
            self._target.ledger.surprises.append(f"no answer in {ANSWER_SECONDS_MAX} s")
            return False
        except (OSError, EOFError):
            self.disconnect()
            self._target.ledger.unanswered += 1
            return False
        items = [{"status": status} | answer] if single else answer.get("data", [])
        if status == 503:
            self.refused += 1
            return False
        if not single and status != 200:
            self._target.ledger.surprises.append(f"{status} {answer}")
        return self._note(keys, items)

    def _note(self, keys: list[str], items: list[dict[str, Any]]) -> bool:
        done = True
        for key, item in zip(keys, items, strict=True):
            verdict = _VERDICTS.get(item["status"])
            if verdict is not None:
                self._target.ledger.answered(key, verdict, item["data"]["id"])
            elif item["status"] == 503:
                done = False
            else:
                self._target.ledger.surprises.append(f"{key}: {item}")
        return done

    async def _exchange(self, path: str, body: bytes) -> tuple[int, Any]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._target.port)
        reader, writer = self._streams
        writer.write(
            f"POST {path} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {self._target.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
        answer = json.loads(await reader.readexactly(int(fields[b"content-length"])))
        if fields.get(b"connection") == b"close":
            self.disconnect()
        return status, answer

    def disconnect(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


def event_of(key: str) -> dict[str, Any]:
    """The event of a key: always the same."""
    rng = random.Random(key)
    size = rng.choice((10, 100, 100, 300, 3000))
    return {
        "event": rng.choice(("order.completed", "order.cancelled", "page.visited")),
        "external_id": f"customer-{rng.randrange(50)}",
        "payload": {"key": key, "filling": "x" * rng.randrange(size)},
        "idempotency_key": key,
    }
