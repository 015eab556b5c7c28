"""Identifiers: UUIDv7 (RFC 9562) that encode the order of receipt and the lane.

Layout of the 128 bits of an event id:

    48  milliseconds since 1970       | 4  version = 7
    12  counter, high part            | 2  variant
     9  counter, low part             | 8  lane | 45 random

The milliseconds (42 bits last until 2109) and the 21-bit counter together are the 63-bit
*sequence*: it orders events by receipt and is the row number of the embedded store, so an event
is found by its id without an index on ids. Callers treat ids as opaque.

Where several processes write, the low 9 bits of the counter are the number of the writer: their
sequences never collide, and each has 2048 a millisecond.
"""

from __future__ import annotations

import random
import re
import uuid
from collections.abc import Callable

#: Canonical form, in either case; for `fullmatch`.
UUID_TEXT = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_COUNTER_BITS = 21
_COUNTER_MAX = (1 << _COUNTER_BITS) - 1
#: Top bit of the counter: set in system events, which are numbered inside the writing transaction,
#: clear in all others, which are numbered before. So the two never collide.
SYSTEM_COUNTER = 1 << (_COUNTER_BITS - 1)
#: Writers that the low bits of a sequence can distinguish.
WRITERS = 512
_MILLISECONDS_MAX = (1 << 42) - 1
_VERSION_AND_VARIANT = (0x7 << 76) | (0x2 << 62)


class EventIdGenerator:
    """Generates strictly increasing ids, even when the clock steps back.

    Not safe for several threads: one process has one generator, used by the thread that
    accepts events.

    Args:
        clock_us: microseconds since 1970.
        after: the highest sequence already stored; every id is above it.
        rng: source of the 45 random bits. They distinguish ids of two stores; they are not secret.
        writer: number of the writer (0-511) where there are several; None for the only one.
        system: whether the ids are for system events.
    """

    def __init__(
        self,
        clock_us: Callable[[], int],
        *,
        after: int = 0,
        rng: random.Random | None = None,
        writer: int | None = None,
        system: bool = False,
    ) -> None:
        self._clock_us = clock_us
        self._step = 1 if writer is None else WRITERS
        #: Bits that are set in every sequence.
        self._marks = (writer or 0) | (SYSTEM_COUNTER if system else 0)
        self._system = SYSTEM_COUNTER if system else 0
        # Never below `after`, and with the bits of the writer from here on.
        self._last = after if writer is None else (after | (WRITERS - 1)) - (WRITERS - 1) + writer
        # Seeded by the system once: asking it for every id would cost more than the id itself.
        seed = random.SystemRandom().getrandbits(256)
        self._getrandbits = (rng or random.Random(seed)).getrandbits  # noqa: S311

    def next(self, lane: int, now_us: int | None = None) -> tuple[int, bytes]:
        """Return `(sequence, id)` of a new event of `lane` (0-255)."""
        now_ms = (self._clock_us() if now_us is None else now_us) // 1000
        first = (min(now_ms, _MILLISECONDS_MAX) << _COUNTER_BITS) | self._marks
        sequence = first if first > self._last else self._last + self._step
        if sequence & SYSTEM_COUNTER != self._system:
            sequence = self._next_millisecond(sequence)
        self._last = sequence
        return sequence, id_of_sequence(sequence, lane, self._getrandbits(45))

    def _next_millisecond(self, sequence: int) -> int:
        # The counter is full: incrementing has set the bit of system events, or carried into the
        # milliseconds.
        milliseconds = sequence >> _COUNTER_BITS
        return ((milliseconds if self._system else milliseconds + 1) << _COUNTER_BITS) | self._marks


def id_of_sequence(sequence: int, lane: int, tail: int) -> bytes:
    """Build the 16 bytes of an id from its three parts (`tail`: 45 random bits)."""
    counter = sequence & _COUNTER_MAX
    number = (
        ((sequence >> _COUNTER_BITS) << 80)
        | _VERSION_AND_VARIANT
        | ((counter >> 9) << 64)
        | ((counter & 0x1FF) << 53)
        | (lane << 45)
        | tail
    )
    return number.to_bytes(16, "big")


def sequence_of_id(event_id: bytes) -> int:
    """Return the sequence inside an event id; any 16 bytes have some 63-bit number."""
    number = int.from_bytes(event_id, "big")
    milliseconds = (number >> 80) & _MILLISECONDS_MAX
    counter = (((number >> 64) & 0xFFF) << 9) | ((number >> 53) & 0x1FF)
    return (milliseconds << _COUNTER_BITS) | counter


def system_sequences_of(now_us: int) -> tuple[int, int]:
    """First sequence of system events at a millisecond, and the first past them."""
    start = (min(now_us // 1000, _MILLISECONDS_MAX) << _COUNTER_BITS) | SYSTEM_COUNTER
    return start, start + SYSTEM_COUNTER


def lane_of_id(event_id: bytes) -> int:
    """Return the lane inside an event id."""
    return (int.from_bytes(event_id[8:], "big") >> 45) & 0xFF


def first_sequence_at(at_us: int) -> int:
    """Smallest sequence an event received at `at_us` can have; bounds scans by time."""
    return max(0, min(at_us // 1000, _MILLISECONDS_MAX)) << _COUNTER_BITS


def received_us_of(sequence: int) -> int:
    """When an event of that sequence was received, to the millisecond."""
    return (sequence >> _COUNTER_BITS) * 1000


def uuid_text(value: bytes | bytearray) -> str:
    """Canonical text of 16 bytes. Faster than `uuid.UUID`, which the hot path would notice."""
    digits = value.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def new_uuid() -> bytes:
    """A random UUID (version 4), without order."""
    return uuid.uuid4().bytes
