"""Sends batches until every line in them has a decision."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from headrace.cli.shared.failure import CommandFailed
from headrace.cli.shared.http_client import Client, Response, Unreachable, error_text

#: Longest wait without a response that decides a line.
PATIENCE_SECONDS = 300.0
RETRY_SECONDS_MIN, RETRY_SECONDS_MAX = 0.5, 15.0
_TRY_AGAIN = frozenset({408, 429, 503})
PATH = "/events/batch"
_HEADERS = {"Content-Type": "application/x-ndjson", "Headrace-Source": "import"}


class Decision(msgspec.Struct, frozen=True):
    """The server's decision about one line."""

    status: int
    code: str = ""
    reason: str = ""
    mismatch: bool = False
    #: Result for a contact.
    outcome: str = ""


class Sender:
    """Sends over one client; waits as long as the server asks.

    Args:
        path: route that takes a batch as newline-delimited JSON.
        patience_s: time without progress after which the command gives up; a later run continues.
    """

    def __init__(
        self,
        client: Client,
        patience_s: float = PATIENCE_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        *,
        path: str = PATH,
    ) -> None:
        self._path = path
        self._client = client
        self._patience_s = patience_s
        self._sleep = sleep
        self._clock = clock

    def send(self, texts: list[bytes]) -> list[Decision]:
        """One decision per text, in order.

        Raises:
            CommandFailed: the whole batch was rejected, or no progress for too long.
        """
        decisions: list[Decision | None] = [None] * len(texts)
        give_up = self._clock() + self._patience_s
        wait_s = RETRY_SECONDS_MIN
        while open_ones := [i for i, found in enumerate(decisions) if found is None]:
            retry_after_s, problem = self._try(texts, open_ones, decisions)
            if not problem:
                continue
            if any(decisions[index] is not None for index in open_ones):
                give_up, wait_s = self._clock() + self._patience_s, RETRY_SECONDS_MIN
            pause_s = wait_s if retry_after_s is None else max(retry_after_s, RETRY_SECONDS_MIN)
            if self._clock() + pause_s > give_up:
                raise CommandFailed(
                    f"{problem.rstrip('.')}. Stopped; run the same command again to continue."
                )
            self._sleep(pause_s)
            wait_s = min(2 * wait_s, RETRY_SECONDS_MAX)
        return [decision for decision in decisions if decision is not None]

    def _try(
        self, texts: list[bytes], indexes: list[int], decisions: list[Decision | None]
    ) -> tuple[float | None, str]:
        """Send once and record decisions; `(wait the server asks for, problem or nothing)`."""
        body = b"\n".join(texts[index] for index in indexes)
        try:
            response = self._client.ask("POST", self._path, body, headers=_HEADERS)
        except Unreachable as error:
            return None, str(error)
        if response.status in _TRY_AGAIN:
            return response.retry_after_s, f"{response.status} {error_text(response.json())}"
        if response.status != 200:
            raise CommandFailed(f"{response.status} {error_text(response.json())}")
        again = 0
        for index, item in zip(indexes, _items(response, len(indexes)), strict=True):
            if item["status"] in _TRY_AGAIN:
                again += 1
            else:
                decisions[index] = _decision(item)
        return None, f"{again} lines were deferred by the server" if again else ""


def _items(response: Response, count: int) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = response.json()["data"]
    if len(items) != count:
        raise CommandFailed(f"The server responded to {len(items)} of {count} lines.")
    return items


def _decision(item: dict[str, Any]) -> Decision:
    if "error" in item:
        return Decision(item["status"], item["error"]["code"], error_text(item))
    return Decision(
        item["status"],
        mismatch=item.get("idempotency_mismatch", False),
        outcome=item.get("outcome", ""),
    )
