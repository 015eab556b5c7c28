"""The signed-in person's own account: password and sessions."""

from __future__ import annotations

from starlette.responses import Response

from headrace.backoffice.shell.addresses import throttled_address
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get, post
from headrace.domain.access.sign_in import PASSWORD_CHARACTERS_MIN, password_problem, throttles


async def show_account(visit: PageRequest) -> Response:
    """Show the password form and the sessions."""
    return await _page(visit)


async def change_password(visit: PageRequest) -> Response:
    """Change the password, given the current one; every other session ends.

    Attempts count like sign-in attempts, so that an open browser is no way to guess the password.
    """
    session = visit.who.session
    account, place = throttles(session.email, throttled_address(session.address))
    wait_us = await visit.store.sign_in.count_try((account, place), visit.now_us)
    if wait_us:
        minutes = wait_us // 60_000_000 + 1
        problem = f"Too many attempts. Wait {minutes} min."
        return await _page(visit, 429, problems={"current": problem})
    password = visit.form.raw("password")
    problems: dict[str, str] = {}
    if problem := password_problem(password):
        problems["password"] = problem
    elif password != visit.form.raw("again"):
        problems["again"] = "The passwords do not match. Type them again."
    held = await visit.store.sign_in.password_hash(session.email)
    passwords = visit.backoffice.passwords
    if not await passwords.matches(held, visit.form.raw("current")):
        problems["current"] = "That is not your current password."
    if problems:
        return await _page(visit, 422, problems=problems)
    hashed = await passwords.hash(password)
    await visit.store.sign_in.set_password(session.email, hashed, session.token_hash, visit.now_us)
    return visit.go(visit.url("/account"), "Password changed; your other sessions were ended.")


async def end_session(visit: PageRequest) -> Response:
    """End one of the person's own sessions."""
    ended = await visit.store.sign_in.end_session(
        visit.who.session.email,
        visit.form.text("session"),
        visit.now_us,
        action="session.revoke",
    )
    if not ended:
        return visit.go(visit.url("/account"), "That session had already ended.", kind="bad")
    return visit.go(visit.url("/account"), "Session ended.")


async def _page(
    visit: PageRequest, status: int = 200, *, problems: dict[str, str] | None = None
) -> Response:
    return visit.page(
        "account.html",
        status,
        sessions=await visit.store.sign_in.sessions(visit.who.session.email, visit.now_us),
        problems=problems or {},
        characters_min=PASSWORD_CHARACTERS_MIN,
    )


SCREENS = (
    get("/account", show_account, Access.SIGNED_IN),
    post("/account/password", change_password, Access.SIGNED_IN),
    post("/account/sessions", end_session, Access.SIGNED_IN),
)
