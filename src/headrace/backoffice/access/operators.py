"""Operators: everyone who may sign in. For owners of the instance."""

from __future__ import annotations

from starlette.responses import Response

from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get, post
from headrace.domain.access.sign_in import issue, issue_link
from headrace.domain.email import normalize_email
from headrace.store.contract.errors import StoreConflictError

_LAST_OWNER = "The instance needs at least one owner. Make someone else an owner first."
_GONE = "That operator no longer exists."


async def list_operators(visit: PageRequest) -> Response:
    """List operators by e-mail address."""
    return await _list(visit)


async def add_operator(visit: PageRequest) -> Response:
    """Add an operator, and show the sign-in link."""
    try:
        email = normalize_email(visit.form.text("email"))
    except ValueError as error:
        return await _list(visit, 422, problem=f"The address {error}.")
    is_owner = visit.form.text("is_owner") == "yes"
    try:
        is_new = await visit.store.members.invite(
            email, issue().token_hash, visit.now_us, is_owner=is_owner, actor=visit.actor
        )
    except StoreConflictError:
        return await _list(visit, 422, problem="The maximum number of operators is reached.")
    if not is_new:
        return await _list(visit, 422, problem="An operator with that address already exists.")
    return await _with_link(visit, email)


async def make_link(visit: PageRequest) -> Response:
    """Create a sign-in link for an operator who has no password or forgot it."""
    return await _with_link(visit, visit.form.text("email"))


async def set_owner(visit: PageRequest) -> Response:
    """Grant or withdraw ownership of the instance."""
    email, is_owner = visit.form.text("email"), visit.form.text("is_owner") == "yes"
    try:
        changed = await visit.store.members.set_owner(
            email, visit.now_us, is_owner=is_owner, actor=visit.actor
        )
    except StoreConflictError:
        return visit.go(visit.url("/operators"), _LAST_OWNER, kind="bad")
    if not changed:
        return visit.go(visit.url("/operators"), _GONE, kind="bad")
    if email == visit.who.session.email and not is_owner:
        return visit.go(visit.url("/projects"), "You are no longer an owner of the instance.")
    words = "is now an owner" if is_owner else "is no longer an owner"
    return visit.go(visit.url("/operators"), f"{email} {words} of the instance.")


async def remove_operator(visit: PageRequest) -> Response:
    """Revoke an account with its sessions, password, token and memberships."""
    email = visit.form.text("email")
    try:
        removed = await visit.store.members.remove(email, visit.now_us, actor=visit.actor)
    except StoreConflictError:
        return visit.go(visit.url("/operators"), _LAST_OWNER, kind="bad")
    if not removed:
        return visit.go(visit.url("/operators"), _GONE, kind="bad")
    return visit.go(visit.url("/operators"), f"{email} can no longer sign in.")


async def _with_link(visit: PageRequest, email: str) -> Response:
    token, link = issue_link(email, visit.now_us)
    if not await visit.store.sign_in.add_link(link, actor=visit.actor):
        return visit.go(visit.url("/operators"), _GONE, kind="bad")
    return await _list(visit, invited=email, token=token)


async def _list(
    visit: PageRequest, status: int = 200, *, problem: str = "", invited: str = "", token: str = ""
) -> Response:
    return visit.page(
        "operators.html",
        status,
        accounts=await visit.store.members.accounts(visit.now_us),
        form=visit.form,
        problem=problem,
        invited=invited,
        invitation=visit.absolute_url(f"/welcome/{token}") if token else "",
    )


SCREENS = (
    get("/operators", list_operators, Access.INSTANCE),
    post("/operators", add_operator, Access.INSTANCE),
    post("/operators/link", make_link, Access.INSTANCE),
    post("/operators/owner", set_owner, Access.INSTANCE),
    post("/operators/remove", remove_operator, Access.INSTANCE),
)
