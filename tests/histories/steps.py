"""Steps of a history, and random ones. They name people by number, so that any may be left out."""

from __future__ import annotations

import random
from typing import Any

import msgspec

EXTERNAL_IDS = tuple(f"xid-{n}-k" for n in range(5))
#: As given; lower case is the normalized form.
EMAILS = tuple(f"Mail{n}@Kanari.example" for n in range(5))
NAMES = ("p", "q")

#: How often each kind of step is taken.
WEIGHTS = {
    "create": 5,
    "upsert": 8,
    "import": 2,
    "update": 8,
    "delete": 2,
    "event": 16,
    "process": 10,
    "merge": 8,
    "undo": 5,
    "dismiss": 2,
    "topic": 1,
    "drop_topic": 1,
    "subscribe": 6,
    "opt_out": 3,
    "audience": 1,
    "enter": 4,
    "exit": 2,
    "erase": 2,
}


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step. Places count in a circle over what there is by then."""

    kind: str
    #: Places of contacts among all that ever were, of merges, topics and audiences.
    a: int = 0
    b: int = 0
    thing: int = 0
    flag: bool = False
    #: What is written; a None clears.
    write: dict[str, Any] = {}
    #: Several of them, for an import.
    writes: list[dict[str, Any]] = []
    sets: dict[str, Any] = {}
    once: dict[str, Any] = {}
    #: Whether an event names its contact by id.
    by_id: bool = False
    #: How many seconds before it was sent it happened.
    ago: int = 0


def random_history(seed: int, length: int) -> list[Step]:
    """Steps that are the same for the same seed."""
    return list(_Random(random.Random(seed)).steps(length))


def read(text: str) -> list[Step]:
    """A history as it was printed."""
    return msgspec.json.decode(text, type=list[Step])


def printed(history: list[Step]) -> str:
    """A history for the terminal, one step a line, that `read` takes."""
    return "[" + ",\n ".join(msgspec.json.encode(step).decode() for step in history) + "]"


class _Random:
    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._values = 0

    def steps(self, length: int) -> list[Step]:
        kinds = self._rng.choices(tuple(WEIGHTS), tuple(WEIGHTS.values()), k=length)
        return [self._step(kind) for kind in kinds]

    def _step(self, kind: str) -> Step:
        rng = self._rng
        step = Step(
            kind, rng.randrange(12), rng.randrange(12), rng.randrange(6), rng.random() < 0.5
        )
        replace = msgspec.structs.replace
        if kind in {"create", "upsert"}:
            return replace(step, write=self._write(clears=False, needs=kind == "upsert"))
        if kind == "import":
            writes = [self._write(clears=False, needs=True) for _ in range(rng.randint(2, 4))]
            return replace(step, writes=writes)
        if kind == "update":
            return replace(step, write=self._write(clears=True, needs=False))
        if kind == "event":
            by_id = rng.random() < 0.2
            write = self._identifiers(needs=not by_id)
            sets = self._properties() if rng.random() < 0.5 else {}
            once = self._properties() if rng.random() < 0.2 else {}
            for said in (sets, once):
                if said and rng.random() < 0.4:
                    said["email"] = rng.choice((*EMAILS, None))
            ago = rng.choice((0, 0, 0, 3, 30))
            return replace(step, write=write, sets=sets, once=once, by_id=by_id, ago=ago)
        return step

    def _identifiers(self, *, needs: bool) -> dict[str, Any]:
        rng = self._rng
        while True:
            said: dict[str, Any] = {}
            if rng.random() < 0.6:
                said["external_id"] = rng.choice(EXTERNAL_IDS)
            if rng.random() < 0.5:
                said["email"] = rng.choice(EMAILS)
            if said or not needs:
                return said

    def _write(self, *, clears: bool, needs: bool) -> dict[str, Any]:
        rng = self._rng
        said = self._identifiers(needs=needs)
        if clears:
            for name in said:
                if rng.random() < 0.3:
                    said[name] = None
        if rng.random() < 0.6:
            said["properties"] = self._properties()
        if rng.random() < 0.2:
            said["ago"] = rng.choice((1, 10, 60))
        return said

    def _properties(self) -> dict[str, Any]:
        found = {}
        for name in NAMES:
            if self._rng.random() < 0.6:
                self._values += 1
                value = f"val-{self._values}-k"
                found[name] = None if self._rng.random() < 0.2 else value
        return found
