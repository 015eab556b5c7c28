"""Owners of identifiers: a row for each identifier that leads to a contact.

The row is in the lane of the identity. An alias leads to a contact without being its own: the
identifiers, ids included, of contacts that were merged into it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from headrace.domain.contacts.contact import IDENTIFIERS, Contact
from headrace.domain.events.identity import IdentityType, lane_of
from headrace.store.contacts.races import ContactRaceError
from headrace.store.contract.processing import BatchPlan, ContactChanged
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Transaction

#: Lane of the identity, project, kind, value.
Identifier = tuple[int, int, str, str]
#: Kind and value.
Alias = tuple[str, str]

_KEY = "lane = $1 AND project_id = $2 AND kind = $3 AND value = $4"
OWNER = sql(f"SELECT contact_id FROM contact_identifiers WHERE {_KEY}")
# Waits for other writers of the same identifiers; none is inserted that is taken by then.
_CLAIM = sql(
    "INSERT INTO contact_identifiers (lane, project_id, kind, value, contact_id) "
    "SELECT k.lane, k.project_id, k.kind, k.value, $5 "
    "FROM unnest($1::smallint[], $2::int[], $3::text[], $4::text[]) "
    "AS k (lane, project_id, kind, value) WHERE true ON CONFLICT DO NOTHING RETURNING lane"
)
# An alias that becomes the contact's own identifier is no longer an alias.
_OWN = sql(
    f"UPDATE contact_identifiers SET alias = false WHERE {_KEY} AND contact_id = $5 AND alias"
)
_RELEASE = sql(f"DELETE FROM contact_identifiers WHERE {_KEY} AND contact_id = $5")
OF = sql(
    "SELECT kind, value FROM contact_identifiers WHERE contact_id = $1 AND alias ORDER BY 1, 2"
)
LEAD_ALL = sql("UPDATE contact_identifiers SET contact_id = $1 WHERE contact_id = $2 AND alias")
_LEAD = sql(
    f"UPDATE contact_identifiers SET contact_id = $6, alias = true WHERE {_KEY} AND contact_id = $5"
)
_LEAD_BACK = sql(
    f"UPDATE contact_identifiers SET contact_id = $6 WHERE {_KEY} AND contact_id = $5 AND alias"
)
_REMOVE_ALIAS = sql(f"DELETE FROM contact_identifiers WHERE {_KEY} AND contact_id = $5 AND alias")
REMOVE_ALIASES = sql("DELETE FROM contact_identifiers WHERE contact_id = $1 AND alias")
_ADD_ALIAS = sql(
    "INSERT INTO contact_identifiers (lane, project_id, kind, value, contact_id, alias) "
    "VALUES ($1, $2, $3, $4, $5, true)"
)


def identifier(project_id: int, kind: IdentityType, value: str) -> Identifier:
    """Key of an identifier's row."""
    return lane_of(project_id, kind, value), project_id, kind.value, value


def own_aliases(contact: Contact) -> list[Alias]:
    """The identifiers of a contact, in the form of aliases."""
    return [(field, value) for field in IDENTIFIERS if (value := getattr(contact, field))]


def own_identifiers(contact: Contact) -> set[Identifier]:
    """Keys of the identifiers of a contact."""
    return {
        identifier(contact.project_id, IdentityType(field), value)
        for field in IDENTIFIERS
        if (value := getattr(contact, field)) is not None
    }


def identifiers_claimed(plan: BatchPlan) -> Iterator[tuple[int, IdentityType, str, str]]:
    """`(project, kind, value, contact id)` of identifiers that a plan gives to contacts."""
    for created in plan.contacts_created.values():
        if created.external_id is not None:
            yield created.project_id, IdentityType.EXTERNAL_ID, created.external_id, created.id
        if created.email is not None:
            yield created.project_id, IdentityType.EMAIL, created.email, created.id
    for one in plan.contacts_changed.values():
        before, after = one.before, one.after
        if after.external_id is not None and after.external_id != before.external_id:
            yield one.project_id, IdentityType.EXTERNAL_ID, after.external_id, after.id
        if after.email is not None and after.email != before.email:
            yield one.project_id, IdentityType.EMAIL, after.email, after.id


def identifiers_released(changed: Iterable[ContactChanged]) -> Iterator[tuple[Identifier, str]]:
    """Key and contact id of identifiers that a plan releases."""
    for one in changed:
        for email in {*one.had} - {one.after.email}:
            yield identifier(one.project_id, IdentityType.EMAIL, email), one.after.id


async def owner_of(tx: Transaction, project_id: int, kind: IdentityType, value: str) -> str | None:
    """Id of the contact that an identifier leads to."""
    owner: str | None = await tx.value(OWNER, *identifier(project_id, kind, value))
    return owner


async def claim(tx: Transaction, contact_id: str, keys: Iterable[Identifier]) -> None:
    """Claim identifiers for a contact.

    Raises:
        ContactRaceError: another contact has taken one.
    """
    # In the order in which all writers lock identifiers.
    ordered = sorted(keys)
    if not ordered:
        return
    # The rows are counted, not the status, which on a cluster is the number that was attempted.
    if len(await tx.rows(_CLAIM, *columns_of(ordered, 4), contact_id)) != len(ordered):
        raise ContactRaceError


async def change(
    tx: Transaction, contact_id: str, had: set[Identifier], has: set[Identifier]
) -> None:
    """Release what the contact no longer has, and claim what is new.

    Raises:
        ContactRaceError: as `claim`.
    """
    await release(tx, contact_id, had - has)
    new = set()
    for key in sorted(has - had):
        if not await tx.run(_OWN, *key, contact_id):
            new.add(key)
    await claim(tx, contact_id, new)


async def release(tx: Transaction, contact_id: str, keys: Iterable[Identifier]) -> None:
    """Release identifiers of a contact."""
    for key in sorted(keys):
        await tx.run(_RELEASE, *key, contact_id)


async def aliases_of(tx: Transaction, contact_id: str) -> list[Alias]:
    """Everything that leads to a contact, including the ids of those merged into it."""
    return [(row[0], row[1]) for row in await tx.rows(OF, contact_id)]


async def ids_of(tx: Transaction, contact_id: str) -> list[str]:
    """The id of a contact, and those of contacts that were merged into it."""
    found = await aliases_of(tx, contact_id)
    return [contact_id, *(value for kind, value in found if kind == IdentityType.CONTACT_ID)]


async def lead_to(tx: Transaction, other: Contact, contact_id: str) -> None:
    """Redirect everything that leads to one contact, and its own id, to another one."""
    await tx.run(LEAD_ALL, contact_id, other.id)
    for key in sorted(own_identifiers(other)):
        await tx.run(_LEAD, *key, other.id, contact_id)
    key = identifier(other.project_id, IdentityType.CONTACT_ID, other.id)
    await tx.run(_ADD_ALIAS, *key, contact_id)


async def lead_back(
    tx: Transaction, other: Contact, aliases: Iterable[Alias], contact_id: str
) -> None:
    """Undo `lead_to`; afterwards the contact's own identifiers lead nowhere."""
    own = [(IdentityType.CONTACT_ID.value, other.id), *own_aliases(other)]
    for key in _keys(other.project_id, own):
        await tx.run(_REMOVE_ALIAS, *key, contact_id)
    for key in _keys(other.project_id, aliases):
        await tx.run(_LEAD_BACK, *key, contact_id, other.id)


def _keys(project_id: int, aliases: Iterable[Alias]) -> list[Identifier]:
    return sorted(identifier(project_id, IdentityType(kind), value) for kind, value in aliases)
