"""Any sequence of writes matches a plain model, and the system events report all changes."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec import UNSET

from headrace.domain.contacts.contact import Contact, ContactWrite, decode_contact
from headrace.domain.contacts.properties import PropertyValue, check_value, read_number, same_value
from headrace.domain.errors import ApiError
from headrace.domain.upkeep.retention import CATCH_UP, SliceSize, trusted_clock
from headrace.store.contract.contacts import ContactFilter
from headrace.store.contract.errors import StoreConflictError
from tests.support.events import START_US
from tests.support.places import SqlitePlace
from tests.support.session import StoreSession

VALUES = st.one_of(
    st.sampled_from(["", "a"]),
    st.sampled_from([0, 1, 1.0, -0.0, 2.5]),
    st.booleans(),
    st.sampled_from([[], ["a"], ["a", "b"]]),
)
EXTERNAL_IDS = st.sampled_from([UNSET, None, "x", "y"])
EMAILS = st.sampled_from([UNSET, None, "a@x.org", "b@x.org"])
WRITES = st.builds(
    lambda external_id, email, properties: ContactWrite(
        external_id=external_id, email=email, properties=properties
    ),
    EXTERNAL_IDS,
    EMAILS,
    st.dictionaries(st.sampled_from(["p", "q"]), st.none() | VALUES, max_size=2),
)
STEPS = st.lists(
    st.tuples(st.sampled_from(["create", "upsert", "update", "delete"]), WRITES, st.integers(0, 3)),
    max_size=12,
)
_projects = itertools.count(1000)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreSession]:
    opened = StoreSession(SqlitePlace(tmp_path_factory.mktemp("contacts")))
    yield opened
    opened.close()


class Model:
    """Contacts by id, as plain fields."""

    def __init__(self) -> None:
        self.contacts: dict[str, dict[str, Any]] = {}

    def holders(self, write: ContactWrite) -> dict[str, str]:
        """Owners of the identifiers of a write, by field."""
        return {
            field: contact_id
            for field in ("external_id", "email")
            for contact_id, held in self.contacts.items()
            if getattr(write, field) not in (None, UNSET) and held[field] == getattr(write, field)
        }

    def write(self, contact_id: str, write: ContactWrite) -> None:
        held = self.contacts.setdefault(
            contact_id, {"external_id": None, "email": None, "properties": {}}
        )
        for field in ("external_id", "email"):
            if getattr(write, field) is not UNSET:
                held[field] = getattr(write, field)
        properties = held["properties"]
        for name, value in write.properties.items():
            if value is None:
                properties.pop(name, None)
            elif not (name in properties and same_value(properties[name], value)):
                properties[name] = value


def shown(contact: Contact) -> dict[str, Any]:
    return {
        "external_id": contact.external_id,
        "email": contact.email,
        "properties": contact.properties,
    }


@given(steps=STEPS)
def test_any_writes_match_the_model(session: StoreSession, steps: list[Any]) -> None:
    project_id = next(_projects)
    model = Model()
    for action, write, choice in steps:
        _step(session, model, project_id, action, write, choice)

    page = session.run(_list(session, project_id))
    assert {contact.id: shown(contact) for contact in page} == model.contacts
    rebuilt = _rebuilt(session, project_id)
    assert rebuilt.keys() == model.contacts.keys()
    for contact in page:
        for field, value in rebuilt[contact.id].items():
            assert same_value(value, _field(contact, field))


def _field(contact: Contact, field: str) -> PropertyValue | None:
    if field.startswith("properties."):
        return contact.properties.get(field.removeprefix("properties."))
    return contact.external_id if field == "external_id" else contact.email


async def _list(session: StoreSession, project_id: int) -> list[Contact]:
    page = await session.store.contacts.list(project_id, ContactFilter(), before=None, limit=100)
    return page.contacts


def _step(
    session: StoreSession,
    model: Model,
    project_id: int,
    action: str,
    write: ContactWrite,
    choice: int,
) -> None:
    holders = model.holders(write)
    found, own = _target(model, action, write, choice)
    if not found:
        return
    contacts = session.store.contacts
    if action == "delete" and own is not None:
        assert session.run(contacts.delete(project_id, own, START_US, source="api"))
        del model.contacts[own]
        return
    clashes = tuple(field for field, holder in holders.items() if holder != own)
    writing = _written(session, project_id, action, write, own)
    if clashes:
        with pytest.raises(StoreConflictError) as raised:
            session.run(writing)
        assert raised.value.args == clashes
    else:
        model.write(session.run(writing).id, write)


def _target(model: Model, action: str, write: ContactWrite, choice: int) -> tuple[bool, str | None]:
    """Whether the step is possible, and its contact: None for a new one."""
    if action == "create":
        return True, None
    if action == "upsert":
        fields = [f for f in ("external_id", "email") if isinstance(getattr(write, f), str)]
        return bool(fields), model.holders(write).get(fields[0]) if fields else None
    own = next(itertools.islice(model.contacts, choice, None), None)
    return own is not None, own


async def _written(
    session: StoreSession, project_id: int, action: str, write: ContactWrite, own: str | None
) -> Contact:
    contacts = session.store.contacts
    if action == "create":
        return await contacts.create(project_id, write, START_US, source="api")
    if action == "upsert":
        contact, created = await contacts.upsert(project_id, write, START_US, source="api")
        assert created == (own is None)
        return contact
    updated = await contacts.update(project_id, own or "", write, START_US, source="api")
    assert updated is not None
    return updated


def _rebuilt(session: StoreSession, project_id: int) -> dict[str, dict[str, Any]]:
    """Existing contacts and their fields, derived from their events.

    Each event must continue the ones before: its old values are the new values of the last one.
    """
    rows = session.place.run_sql(
        "SELECT event, payload FROM events WHERE project_id = ? ORDER BY sequence", project_id
    )
    rebuilt: dict[str, dict[str, Any]] = {}
    for event, payload in rows:
        body = json.loads(payload)
        contact_id = body["contact_id"]
        if event.endswith("created"):
            assert contact_id not in rebuilt
            rebuilt[contact_id] = {}
        elif event.endswith("deleted"):
            del rebuilt[contact_id]
        else:
            assert body["changes"]
            for field, change in body["changes"].items():
                assert not same_value(change["from"], change["to"])
                held = rebuilt[contact_id]
                assert field not in held or same_value(held[field], change["from"])
                held[field] = change["to"]
    return rebuilt


NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(2**53) + 1, 2**53 - 1).map(str),
    st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?", fullmatch=True),
)


@given(text=NUMBERS)
def test_number_is_kept_exactly_or_rejected(text: str) -> None:
    try:
        number = read_number(text)
    except ValueError:
        return
    assert math.isfinite(number)
    exact = Decimal(text)
    digits = len("".join(map(str, exact.as_tuple().digits)).strip("0")) or 1
    assert digits <= 17
    assert exact in {Decimal(repr(number)), Decimal(f"{number:.{digits}g}")}


@given(number=st.floats(allow_nan=False, allow_infinity=False))
def test_every_double_is_accepted(number: float) -> None:
    assert read_number(repr(number)) == number


@given(number=st.floats(allow_nan=False, allow_infinity=False))
def test_every_double_with_17_digits_is_accepted(number: float) -> None:
    """C, PHP, .NET and R write `%.17g`: 49.9 is 49.899999999999999."""
    assume(not number.is_integer() or abs(number) < 2**53)
    assert read_number(f"{number:.17g}") == number


@pytest.mark.parametrize(
    "text",
    [
        "9007199254740992",
        "9007199254740993.0",
        "-12345678901234567890",
        "0.10000000000000000555",
        "3.14159265358979323846",
        "1e400",
        "1e-400",
    ],
)
def test_number_that_would_be_changed_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="send it as a string"):
        read_number(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["external_id", "email", "properties", "emial"])


@given(body=st.dictionaries(FIELDS, JSON, max_size=4), clears=st.booleans())
def test_any_value_is_accepted_unchanged_or_rejected(body: dict[str, Any], clears: bool) -> None:
    write = _decoded(json.dumps(body).encode(), clears=clears)
    if write is None:
        return
    sent: dict[str, Any] = body.get("properties") or {}
    assert write.properties.keys() == sent.keys()
    for name, value in write.properties.items():
        assert same_value(value, sent[name])
        assert value is None or isinstance(value, bool) == isinstance(sent[name], bool)


@given(body=st.binary(max_size=200))
def test_arbitrary_bytes_are_rejected_or_an_empty_write(body: bytes) -> None:
    assert _decoded(body, clears=True) in (None, ContactWrite())


def _decoded(body: bytes, *, clears: bool) -> ContactWrite | None:
    """The write in a body; None when it is rejected with an error of the contract."""
    try:
        return decode_contact(body, clears=clears)
    except ApiError as error:
        return {400: None, 422: None}[error.status]


@given(left=VALUES, right=VALUES)
def test_values_are_equal_exactly_when_their_json_is(
    left: PropertyValue, right: PropertyValue
) -> None:
    def kind(value: PropertyValue) -> str:
        return "number" if type(value) in (int, float) else type(value).__name__

    assert same_value(left, right) == (kind(left) == kind(right) and left == right)
    assert same_value(left, right) == same_value(right, left)
    if not isinstance(left, (int, float)):
        assert check_value(left) == left


TIMES = st.integers(0, 2**52)


@given(trusted=TIMES, wall=TIMES, elapsed=st.integers(-(2**40), 2**40))
def test_retention_clock_is_never_ahead_and_never_jumps(
    trusted: int, wall: int, elapsed: int
) -> None:
    clock = trusted_clock(trusted, wall, elapsed)
    assert clock <= wall
    assert clock - trusted <= CATCH_UP * max(0, elapsed)


@given(steps=st.lists(st.tuples(st.integers(0, 600), st.floats(0, 10))))
def test_slice_stays_within_its_bounds(steps: list[tuple[int, float]]) -> None:
    size = SliceSize(0.008)
    for rows, seconds in steps:
        size.observe(rows, seconds)
        assert size.MIN <= size.rows <= size.MAX
