"""Lists of contacts: by index where there is one, in bounded steps where there is none."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.domain.properties import read_number
from headrace.store.contract_contacts import ContactFilter

#: Contacts one page may look at before it answers with what it found and a cursor to go on.
ROWS_EXAMINED_MAX = 20_000

# Whatever the type of the property, its one comparison applies; a number that is none is NULL,
# which equals nothing.
_PROPERTY = (
    "EXISTS (SELECT 1 FROM json_each(contacts.properties) AS p WHERE p.key = :name{n} AND CASE "
    "WHEN p.type IN ('integer', 'real') THEN p.value = :number{n} "
    "WHEN p.type IN ('true', 'false') THEN p.type = :text{n} "
    "WHEN p.type = 'array' THEN EXISTS "
    "(SELECT 1 FROM json_each(p.value) AS item WHERE item.value = :text{n}) "
    "ELSE p.value = :text{n} END)"
)


class ContactQuery(msgspec.Struct, frozen=True):
    """Conditions of a list, for ORDER BY number DESC."""

    #: Served by one index.
    leading: str
    #: Looked at row by row.
    others: list[str]
    #: What `leading` needs.
    values: dict[str, Any]
    #: What `others` need besides.
    other_values: dict[str, Any]


def contact_query(project_id: int, wanted: ContactFilter, before: int | None) -> ContactQuery:
    """Plan a list. A unary plus keeps SQLite from using an index of that column."""
    leading = ["project_id = :project_id"]
    others: list[str] = []
    values: dict[str, Any] = {"project_id": project_id}
    other_values: dict[str, Any] = {}
    for name in ("external_id", "email"):
        value = getattr(wanted, name)
        if value is not None:
            # Each is unique in a project, so the first one leaves a row at most.
            values[name] = value
            leading.append(f"{name} = :{name} AND {name} IS NOT NULL")
            break
    if wanted.email is not None and "email" not in values:
        other_values["email"] = wanted.email
        others.append("+email = :email")
    if before is not None:
        values["before"] = before
        leading.append("number < :before")
    if wanted.created_after_us is not None:
        others.append(f"created_us >= {wanted.created_after_us:d}")
    if wanted.created_before_us is not None:
        others.append(f"created_us < {wanted.created_before_us:d}")
    for n, (name, text) in enumerate(wanted.properties):
        others.append(_PROPERTY.format(n=n))
        other_values |= {f"name{n}": name, f"text{n}": text, f"number{n}": _number(text)}
    return ContactQuery(" AND ".join(leading), others, values, other_values)


def _number(text: str) -> float | None:
    try:
        return read_number(text)
    except (ValueError, ArithmeticError):
        return None
