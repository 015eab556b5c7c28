"""What lists of contacts have in common in both stores."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.domain.contacts.properties import read_number

#: Contacts one page may look at before it answers with what it found and a cursor to go on.
ROWS_EXAMINED_MAX = 20_000


class Lead(msgspec.Struct, frozen=True):
    """The one index along which a list is walked, newest contact first."""

    table: str
    #: Its column that holds the number of the contact.
    number: str
    #: Served by the index.
    test: str
    values: dict[str, Any]


class ContactQuery:
    """A list as it is asked for: filters become its lead, or tests of each row."""

    def __init__(self, project_id: int) -> None:
        self.project_id = project_id
        self.lead: Lead | None = None
        #: Looked at row by row.
        self.others: list[str] = []
        #: What `others` need besides the values of the lead.
        self.other_values: dict[str, Any] = {}

    def by(self, lead: Lead | None, test: str, values: dict[str, Any]) -> None:
        """Take a filter: its lead if there is none yet, else its test."""
        if lead is not None and self.lead is None:
            self.lead = lead
            return
        self.others.append(test)
        self.other_values |= values

    def lead_before(self, before: int | None) -> Lead:
        """The lead, that of the project if nothing better was found, from a position on."""
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
    """The number that a filter's text reads as; None, which equals nothing, if it is none."""
    try:
        return read_number(text)
    except (ValueError, ArithmeticError):
        return None
