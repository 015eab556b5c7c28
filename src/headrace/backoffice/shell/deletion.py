"""Deletion of objects that automations may use."""

from __future__ import annotations

from starlette.responses import Response

from headrace.backoffice.shell.request import PageRequest
from headrace.domain.errors import as_written
from headrace.store.access.automation_use import UsedByAutomationsError

#: Names that a message shows.
_SHOWN_MAX = 5


def forced(visit: PageRequest) -> bool:
    """Whether the operator deletes it although automations use it."""
    return visit.form.text("force") == "yes"


def still_used(visit: PageRequest, address: str, error: UsedByAutomationsError) -> Response:
    """Back to the page of the object, with the automations that use it."""
    names = ", ".join(as_written(user.name) for user in error.users[:_SHOWN_MAX])
    more = len(error.users) - _SHOWN_MAX
    text = f"Not deleted: automations use it: {names}{f' and {more} more' if more > 0 else ''}."
    return visit.go(address, text, kind="bad")
