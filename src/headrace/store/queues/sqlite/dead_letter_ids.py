"""Numbers and ids of dead letters, in table order."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import apsw

from headrace.domain.ids import id_of_sequence, uuid_text

_RANDOM_BITS = 45
# Of all that were ever made: a trigger notes the number of a removed one that was the highest.
_LAST = """
SELECT max(coalesce((SELECT max(number) FROM dead_letters), 0),
    coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'last_dead_letter'), 0))
"""


def next_dead_letters(connection: apsw.Connection, lanes: Sequence[int]) -> list[tuple[int, str]]:
    """Number and id of a new dead letter for an event of each lane."""
    row: Any = connection.execute(_LAST).fetchone()
    return [
        (number, uuid_text(id_of_sequence(number, lane, secrets.randbits(_RANDOM_BITS))))
        for number, lane in enumerate(lanes, int(row[0]) + 1)
    ]
