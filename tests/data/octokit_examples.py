"""Real webhook bodies as test data: the examples of npm's `@octokit/webhooks-examples`."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from headrace.http.server.zstandard import zstd

DATA = Path(__file__).with_name("octokit-webhooks-examples.jsonl.zst")


@dataclass(frozen=True, kw_only=True)
class Example:
    """One webhook body.

    Attributes:
        name: GitHub's name of the event, such as `pull_request`.
        action: What happened to it, such as `opened`; not every event has one.
        payload: The JSON text as the package has it: indented, over many lines.
    """

    name: str
    action: str | None
    payload: bytes

    @property
    def event(self) -> str:
        """A Headrace event name: `github.pull_request.opened`."""
        parts = ("github", self.name, self.action)
        return ".".join(part.replace("-", "_") for part in parts if part)

    @property
    def payload_on_one_line(self) -> bytes:
        """The payload without the white space between its tokens, each token as it was."""
        return msgspec.json.format(self.payload, indent=-1)


def read_examples() -> Iterator[Example]:
    """Yields every example, always in the same order."""
    with zstd.open(DATA, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield Example(
                name=row["name"], action=row.get("action"), payload=row["payload"].encode()
            )
