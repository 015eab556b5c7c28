"""Sends requests to `/contacts` one at a time, and times each."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import msgspec

from bench.load.wrk import LoadFailedError
from bench.processes import HOST

CONTACTS_A_REQUEST = 1_000
ANSWER_WITHIN_S = 60
#: People in a thousand with the rarer plan.
RARE_PLAN_PER_MILLE = 1


class Caller:
    """One connection, as one API key."""

    def __init__(self, port: int, api_key: str) -> None:
        self._headers = {"Authorization": f"Bearer {api_key}"}
        self._connection = http.client.HTTPConnection(HOST, port, timeout=ANSWER_WITHIN_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def ask(
        self, method: str, path: str, body: bytes | None = None, media: str = "application/json"
    ) -> Any:
        """One request; its decoded answer.

        Raises:
            LoadFailedError: it was rejected.
        """
        headers = self._headers if body is None else {**self._headers, "Content-Type": media}
        try:
            self._connection.request(method, path, body, headers)
            answer = self._connection.getresponse()
        except ConnectionError:
            # Closed by the server while others were measured; the next request opens a new one.
            self._connection.close()
            self._connection.request(method, path, body, headers)
            answer = self._connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise LoadFailedError(f"{method} {path} was answered {answer.status}: {text[:300]!r}")
        return msgspec.json.decode(text)


def person(number: int) -> dict[str, Any]:
    """A person, the same for the same number."""
    rare = number % 1000 < RARE_PLAN_PER_MILLE
    return {
        "external_id": f"user_{number:08}",
        "email": f"person{number:08}@shop{number % 97}.example",
        "properties": {"plan": "gold" if rare else "free", "seats": number % 50, "vip": rare},
    }


def fill(caller: Caller, start: int, count: int) -> list[str]:
    """Upsert people in batches; returns their ids in order."""
    ids: list[str] = []
    for first in range(start, start + count, CONTACTS_A_REQUEST):
        numbers = range(first, min(first + CONTACTS_A_REQUEST, start + count))
        body = b"\n".join(msgspec.json.encode(person(number)) for number in numbers)
        answer = caller.ask("POST", "/contacts/batch", body, "application/x-ndjson")
        ids += [item["data"]["id"] for item in answer["data"]]
    return ids


def timed(request: Callable[[], Any], seconds: float) -> list[float]:
    """Repeat a request for some time; returns the milliseconds each took."""
    found: list[float] = []
    end = time.perf_counter() + seconds
    while not found or time.perf_counter() < end:
        began = time.perf_counter()
        request()
        found.append((time.perf_counter() - began) * 1000)
    return found
