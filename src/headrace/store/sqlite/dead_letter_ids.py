"""Numbers and ids of dead letters."""

from __future__ import annotations

import secrets
from typing import Any

import apsw

from headrace.domain.ids import id_of_sequence, uuid_text

_RANDOM_BITS = 45


def next_dead_letter(connection: apsw.Connection, lane: int) -> tuple[int, str]:
    """Number and id of a new dead letter about an event of `lane`.

    The id holds both, as that of an event does: so it stays what it is when the store is copied to
    one that finds dead letters by what their ids hold.
    """
    row: Any = connection.execute(
        "SELECT coalesce(max(number), 0) + 1 FROM dead_letters"
    ).fetchone()
    number = int(row[0])
    return number, uuid_text(id_of_sequence(number, lane, secrets.randbits(_RANDOM_BITS)))
