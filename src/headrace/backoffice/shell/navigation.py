"""Navigation of a project, in order."""

from __future__ import annotations

import msgspec

from headrace.backoffice.shell.context import PREFIX
from headrace.domain.ids import uuid_text
from headrace.store.contract.access import Project


class Link(msgspec.Struct, frozen=True):
    """An entry of the navigation."""

    label: str
    address: str
    icon: str
    current: bool


#: Label, path below the project, icon name in `templates/icons.html`. An entry appears once its
#: screen exists, see `offer`.
ENTRIES = (
    ("Overview", "", "overview"),
    ("Alerts", "/alerts", "alerts"),
    ("Events", "/events", "events"),
    ("Rejections", "/rejections", "rejections"),
    ("Dead letters", "/dead-letters", "dead-letters"),
    ("Contacts", "/contacts", "contacts"),
    ("Automations", "/automations", "automations"),
    ("Messages", "/messages", "messages"),
    ("Templates", "/templates", "templates"),
    ("Catalog", "/catalog", "catalog"),
    ("Subscribers", "/subscribers", "subscribers"),
    ("API keys", "/keys", "keys"),
    ("Policies", "/policies", "policies"),
    ("Sending domains", "/domains", "domains"),
    ("Push apps", "/push-apps", "push-apps"),
    ("Suppressions", "/suppressions", "suppressions"),
    ("Returned mail", "/notifications", "returned"),
    ("Members", "/members", "members"),
    ("Audit", "/audit", "audit"),
)
_PROJECT = "/projects/{project}"
_offered: set[str] = set()


def offer(paths: set[str]) -> None:
    """Register the paths of all screens; entries without a screen are left out."""
    _offered.clear()
    _offered.update(paths)


def links_for(path: str, project: Project | None) -> list[Link]:
    """Navigation of a project, empty outside of one."""
    if project is None:
        return []
    base = f"{PREFIX}/projects/{uuid_text(project.uuid)}"
    rest = path.removeprefix(base).rstrip("/")
    return [
        Link(label, base + below, icon, _is_current(rest, below))
        for label, below, icon in ENTRIES
        if _PROJECT + below in _offered
    ]


def _is_current(rest: str, below: str) -> bool:
    return rest == below or (below != "" and rest.startswith(f"{below}/"))
