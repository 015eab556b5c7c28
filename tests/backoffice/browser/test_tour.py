"""Every settings page of a project and of the instance: readable, narrow and wide."""

from __future__ import annotations

import pytest

from headrace.domain.access.api_keys import Scope, issue_key
from headrace.domain.access.sign_in import Role, issue
from headrace.domain.timestamps import now_us
from headrace.store.contract.access import Project
from headrace.store.contract.sign_in import Member
from headrace.store.store import Store
from tests.backoffice.browser.conftest import OpenWindow
from tests.backoffice.cast import Person, in_store, project_path
from tests.support.server import RunningServer

DAY_US = 86_400 * 1_000_000
OF_PROJECT = ("keys", "policies", "members", "audit")
OF_INSTANCE = ("projects", "operators", "audit", "account")
PAGES = (*(f"project/{name}" for name in OF_PROJECT), *OF_INSTANCE)


@pytest.fixture(scope="module")
def shop(server: RunningServer) -> Project:
    """A project with settings of every kind."""
    return in_store(server, _set_up)


async def _set_up(store: Store) -> Project:
    at_us, ann = now_us(), "ann@example.org"
    project = await store.projects.create("shop", at_us, actor=ann)
    for name, scopes, expires_us in (
        ("checkout", {Scope.INGEST}, None),
        ("reports", {Scope.READ}, at_us + 30 * DAY_US),
        ("old import", set(Scope), at_us - DAY_US),
    ):
        issued = issue_key(
            project.id,
            frozenset(scopes),
            name=name,
            now_us=at_us - 90 * DAY_US,
            expires_us=expires_us,
        )
        await store.projects.add_key(issued.key, actor=f"operator {ann}")
        if name != "old import":
            await store.members.note_key_uses({issued.key.public_id: at_us - DAY_US})
    changes = {"event_retention_days": 30, "event_ingest_limit_per_second": 500}
    await store.operators.set_policies(project.id, changes, at_us, actor=f"operator {ann}")
    for email, role in ((ann, Role.OWNER), ("bob@example.org", Role.OPERATOR)):
        await store.members.invite(
            email, issue().token_hash, at_us, is_owner=False, actor="first start"
        )
        member = Member(email=email, role=role, added_us=at_us)
        await store.members.set_member(project.id, member, at_us, actor=f"operator {ann}")
    return project


def path_of(name: str, project: Project) -> str:
    return f"/{name}".replace("/project/", f"{project_path(project)}/")


@pytest.mark.parametrize(
    ("width", "scheme"), [(360, "light"), (360, "dark"), (1600, "light"), (1600, "dark")]
)
def test_pages_fit_and_are_accessible(
    new_window: OpenWindow, owner: Person, shop: Project, width: int, scheme: str
) -> None:
    window = new_window(owner, width=width, height=900, scheme=scheme)
    for name in PAGES:
        window.go(path_of(name, shop))
        window.check_width()
        # axe's findings depend on the colours and on the visible elements: once for each of both.
        if (width, scheme) in ((360, "dark"), (1600, "light")):
            window.check_axe()
        window.shoot(f"{name.replace('/', '-')}-{width}-{scheme}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_before_signing_in_are_accessible(new_window: OpenWindow, scheme: str) -> None:
    window = new_window(width=360, scheme=scheme)
    window.expected = {404, 410}
    for path in ("/sign-in", "/welcome/over", "/nothing"):
        window.go(path)
        window.check_width()
        window.check_axe()
    window.go("/sign-in")
    window.shoot(f"sign-in-360-{scheme}")


def test_open_menus_and_dialogs_are_accessible(
    new_window: OpenWindow, owner: Person, shop: Project
) -> None:
    window = new_window(owner, width=360)
    page = window.go(f"{project_path(shop)}/keys")
    page.get_by_role("button", name="Revoke").first.click()
    window.check_axe()
    window.check_width()
    page.keyboard.press("Escape")
    for menu in ("Project:", "Account and appearance"):
        page.get_by_label(menu).click()
        window.check_axe()
        window.check_width()
        page.keyboard.press("Escape")
