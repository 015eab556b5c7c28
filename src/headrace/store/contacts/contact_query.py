"""The parts of a list of contacts."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.domain.contacts.properties import read_number

#: Contacts that one page may examine before it returns what it found and a cursor to continue.
ROWS_EXAMINED_MAX = 20_000


class Lead(msgspec.Struct, frozen=True):
    """The index that a list scans, newest contact first."""

    table: str
    #: Its column that holds the number of the contact.
    number: str
    #: Served by the index.
    test: str
    values: dict[str, Any]


class ContactQuery:
    """A requested list: filters become its lead, or tests of each row."""

    def __init__(self, project_id: int) -> None:
        self.project_id = project_id
        self.lead: Lead | None = None
        #: Tested row by row.
        self.others: list[str] = []
        #: What `others` need besides the values of the lead.
        self.other_values: dict[str, Any] = {}

    def by(self, lead: Lead | None, test: str, values: dict[str, Any]) -> None:
        """Add a filter: as the lead if there is none yet, else as a test."""
        if lead is not None and self.lead is None:
            self.lead = lead
            return
        self.others.append(test)
        self.other_values |= values

    def lead_before(self, before: int | None) -> Lead:
        """The lead, that of the project if there is no other, from a position on."""
        lead = self.lead
        if lead is None:
            project = {"project_id": self.project_id}
            test = "contacts.project_id = :project_id"
            lead = Lead("contacts", "contacts.number", test, project)
        if before is None:
            return lead
        test = f"{lead.test} AND {lead.number} < :before"
        return msgspec.structs.replace(lead, test=test, values=lead.values | {"before": before})


def number_of(text: str) -> float | None:
    """The number in a filter's text; None, which equals nothing, if it is not a number."""
    try:
        return read_number(text)
    except (ValueError, ArithmeticError):
        return None
