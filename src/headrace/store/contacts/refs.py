"""References to contacts, with identifiers only: enough for their memberships."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import msgspec

from headrace.domain.contacts.contact import Contact
from headrace.domain.events.identity import IdentityType, contact_lane
from headrace.store.contract.processing import SystemEvent
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Transaction

COLUMNS = "c.number, c.id, c.project_id, c.external_id, c.email"
FIND = sql(
    f"SELECT {COLUMNS} FROM unnest($1::smallint[], $2::text[]) AS k (lane, id) "
    "JOIN contacts c ON c.lane = k.lane AND c.id = k.id WHERE c.project_id = $3"
)
# One lane at a time: a cluster cannot lock rows on several nodes in one statement.
_OF_LANE = (
    f"SELECT {COLUMNS} FROM contacts c WHERE c.lane = $1 AND c.id = ANY($2::text[]) "
    "AND c.project_id = $3 ORDER BY c.id"
)
HOLD = sql(f"{_OF_LANE} FOR KEY SHARE")
CHANGE = sql(f"{_OF_LANE} FOR NO KEY UPDATE")
# Ids of contacts that were merged into others.
FOLLOW = sql(
    "SELECT i.value, i.contact_id FROM unnest($1::smallint[], $2::text[]) AS k (lane, id) "
    "JOIN contact_identifiers i ON i.lane = k.lane AND i.value = k.id WHERE i.project_id = $3 "
    f"AND i.kind = '{IdentityType.CONTACT_ID}'"
)


class ContactRef(msgspec.Struct, frozen=True):
    """A contact with its identifiers only."""

    number: int
    id: str
    project_id: int
    #: Lane of events about the contact.
    lane: int

    @property
    def home_lane(self) -> int:
        """Lane of the contact's row and of all rows that belong to it."""
        return contact_lane(self.project_id, self.id)

    def event(self, name: str, payload: str) -> SystemEvent:
        """A system event about the contact."""
        return SystemEvent(self.project_id, name, self.id, payload, self.lane)


def ref(row: Sequence[Any]) -> ContactRef:
    """From `number, id, project_id, external_id, email`."""
    number, contact_id, project_id, external_id, email = row
    contact = Contact(
        id=contact_id,
        project_id=project_id,
        external_id=external_id,
        email=email,
        created_us=0,
        updated_us=0,
    )
    return ContactRef(number, contact_id, project_id, contact.lane)


async def find_ref(tx: Transaction, project_id: int, contact_id: str) -> ContactRef | None:
    """One contact, None when the project has no such contact."""
    real = await _follow(tx, project_id, (contact_id,))
    keys = _keys(project_id, real.values())
    row = await tx.row(FIND, *columns_of(keys, 2), project_id)
    return None if row is None else ref(row)


async def change_ref(tx: Transaction, project_id: int, contact_id: str) -> ContactRef | None:
    """One contact, locked against changes until the end of the transaction."""
    real = await _follow(tx, project_id, (contact_id,))
    ((lane, own_id),) = _keys(project_id, real.values())
    row = await tx.row(CHANGE, lane, [own_id], project_id)
    return None if row is None else ref(row)


async def hold_refs(
    tx: Transaction, project_id: int, contact_ids: Iterable[str]
) -> dict[str, ContactRef]:
    """The contacts that exist, locked against deletion until the end of the transaction.

    Returns:
        By requested id.
    """
    real = await _follow(tx, project_id, contact_ids)
    held: dict[str, ContactRef] = {}
    for lane, keys in groupby(_keys(project_id, real.values()), key=lambda key: key[0]):
        rows = await tx.rows(HOLD, lane, [own_id for _, own_id in keys], project_id)
        held |= {row[1]: ref(row) for row in rows}
    return {asked: held[own_id] for asked, own_id in real.items() if own_id in held}


def _keys(project_id: int, contact_ids: Iterable[str]) -> list[tuple[int, str]]:
    """`(lane, id)` of contacts, in the order in which all writers lock them."""
    return sorted({(contact_lane(project_id, each), each) for each in contact_ids})


async def _follow(tx: Transaction, project_id: int, contact_ids: Iterable[str]) -> dict[str, str]:
    """Each requested id, and the id of the contact it leads to."""
    wanted = list(contact_ids)
    keys = columns_of(_keys(project_id, wanted), 2)
    merged = {row[0]: row[1] for row in await tx.rows(FOLLOW, *keys, project_id)}
    return {asked: merged.get(asked, asked) for asked in wanted}
