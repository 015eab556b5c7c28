"""Members of a project and their roles."""

from __future__ import annotations

from starlette.responses import Response

from headrace.backoffice.shell.forms import Fields
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get, post
from headrace.domain.access.sign_in import Role, issue, issue_link
from headrace.domain.email import normalize_email
from headrace.store.contract.errors import StoreConflictError
from headrace.store.contract.sign_in import Member

#: Value and label of each role.
ROLES = (
    (Role.VIEWER, "Can see everything; personal data is masked."),
    (Role.OPERATOR, "Can also replay, discard, change policies and show personal data."),
    (Role.OWNER, "Can also manage keys and members, and erase people."),
)


async def list_members(visit: PageRequest) -> Response:
    """List members by e-mail address."""
    return await _list(visit)


async def add_member(visit: PageRequest) -> Response:
    """Add a member by e-mail; without an account, one is created with a sign-in link."""
    typed = visit.form.text("email")
    role = visit.form.one_of("role", tuple(Role))
    try:
        email = normalize_email(typed)
    except ValueError as error:
        return await _list(visit, 422, problem=f"The address {error}.")
    if not role:
        return await _list(visit, 422, problem="Choose a role.")
    members = visit.store.members
    try:
        is_new = await members.invite(
            email, issue().token_hash, visit.now_us, is_owner=False, actor=visit.actor
        )
        member = Member(email=email, role=Role(role), added_us=visit.now_us)
        await members.set_member(visit.project.id, member, visit.now_us, actor=visit.actor)
    except StoreConflictError as error:
        return await _list(visit, 422, problem=f"There are too many {error.args[0]} already.")
    if not is_new:
        return visit.go(visit.project_url("/members"), f"{email} is now {role} of this project.")
    token, link = issue_link(email, visit.now_us)
    await visit.store.sign_in.add_link(link, actor=visit.actor)
    return await _list(visit, invited=email, token=token)


async def set_role(visit: PageRequest) -> Response:
    """Change the role of a member."""
    email, back = visit.form.text("email"), visit.project_url("/members")
    role = visit.form.one_of("role", tuple(Role))
    found = await visit.store.members.members(visit.project.id)
    member = next((each for each in found if each.email == email), None)
    if member is None or not role:
        return visit.go(back, "That member no longer exists.", kind="bad")
    changed = Member(email=email, role=Role(role), added_us=member.added_us)
    await visit.store.members.set_member(visit.project.id, changed, visit.now_us, actor=visit.actor)
    return visit.go(back, f"{email} is now {role} of this project.")


async def remove_member(visit: PageRequest) -> Response:
    """Remove a member; the account stays."""
    email = visit.form.text("email")
    removed = await visit.store.members.remove_member(
        visit.project.id, email, visit.now_us, actor=visit.actor
    )
    back = visit.project_url("/members")
    if not removed:
        return visit.go(back, "That member no longer exists.", kind="bad")
    if email == visit.who.session.email and not visit.who.is_owner:
        return visit.go(visit.url("/projects"), "You left the project.")
    return visit.go(back, f"{email} is no longer a member.")


async def _list(
    visit: PageRequest, status: int = 200, *, problem: str = "", invited: str = "", token: str = ""
) -> Response:
    accounts = await visit.store.members.accounts(visit.now_us)
    found = await visit.store.members.members(visit.project.id)
    named = {account.email: account for account in accounts}
    return visit.page(
        "members.html",
        status,
        members=[(member, named.get(member.email)) for member in found],
        owners=[account for account in accounts if account.is_owner],
        roles=ROLES,
        form=Fields([]) if invited else visit.form,
        problem=problem,
        invited=invited,
        invitation=visit.absolute_url(f"/welcome/{token}") if token else "",
    )


SCREENS = (
    get("/projects/{project}/members", list_members, Access.VIEWER),
    post("/projects/{project}/members", add_member, Access.OWNER),
    post("/projects/{project}/members/role", set_role, Access.OWNER),
    post("/projects/{project}/members/remove", remove_member, Access.OWNER),
)
