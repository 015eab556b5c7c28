"""What the API and the worker ask of a store to forget a person.

The contact and what it is tied to go at once. The rest goes slice by slice: all events that were
stored by then and name the person by any identifier, with everything that is kept about them. An
event of the person that a worker meets meanwhile is erased instead of processed. What arrives
later is about somebody nobody knows.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

#: Rejections of requests that came before are in the store by then.
SETTLE_US = 1_000_000


class ErasureStatus(StrEnum):
    """How far it is. `begin` makes it running, `advance` and `wipe` move it on."""

    RUNNING = "running"
    #: No row is left; traces of rows in the files are.
    WIPING = "wiping"
    DONE = "done"


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """A job that forgets a person, and afterwards the receipt. Names nobody."""

    #: Grows with time.
    number: int
    id: str
    project_id: int
    contact_id: str
    status: ErasureStatus
    #: Place -> rows that were removed there so far.
    counts: dict[str, int]
    actor: str
    created_us: int
    finished_us: int | None
