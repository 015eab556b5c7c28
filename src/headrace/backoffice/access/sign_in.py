"""Sign in by e-mail and password, and sign out."""

from __future__ import annotations

from starlette.responses import Response

from headrace.backoffice.shell.addresses import client_address, throttled_address
from headrace.backoffice.shell.cookies import drop_session, write_session
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get, post
from headrace.domain.access.sign_in import issue_session, throttles
from headrace.domain.email import normalize_email

_BROWSER_CHARACTERS_MAX = 300
#: The same for an unknown account, a wrong password and a missing one.
_WRONG_CREDENTIALS = "E-mail and password do not match. Check both."


async def sign_in_page(visit: PageRequest) -> Response:
    """Show the form."""
    if visit.signed_in is not None:
        return visit.go(visit.safe_address(visit.query.text("next")))
    return _form(visit, next_address=visit.query.text("next"))


async def sign_in(visit: PageRequest) -> Response:
    """Count the attempt, verify the password, open a session.

    Counting comes before verifying, so that parallel attempts gain nothing. An unknown account
    takes the same time and gets the same response.
    """
    next_address, typed = visit.form.text("next"), visit.form.text("email")
    email = _normalized(typed)
    address = client_address(visit.request, visit.backoffice.trusted_proxies)
    account, place = throttles(email, throttled_address(address))
    sessions = visit.store.sign_in
    wait_us = await sessions.count_try((account, place), visit.now_us)
    if wait_us:
        minutes = wait_us // 60_000_000 + 1
        problem = f"Too many attempts. Wait {minutes} min, or ask for a sign-in link (see below)."
        response = _form(visit, 429, next_address=next_address, email=typed, problem=problem)
        response.headers["Retry-After"] = str(wait_us // 1_000_000 + 1)
        return response
    found = await sessions.password_hash(email)
    if not await visit.backoffice.passwords.matches(found, visit.form.raw("password")):
        await sessions.note_failure(email, address, visit.now_us)
        return _form(visit, 422, next_address=next_address, email=typed, problem=_WRONG_CREDENTIALS)
    token, session = issue_session(email, visit.now_us, address=address, browser=browser_of(visit))
    if not await sessions.open_session(session, (account,)):
        return _form(visit, 422, next_address=next_address, email=typed, problem=_WRONG_CREDENTIALS)
    response = visit.go(visit.safe_address(next_address))
    write_session(response, token, secure=visit.backoffice.secure)
    return response


async def sign_out(visit: PageRequest) -> Response:
    """End this session in the browser and in the store."""
    session = visit.who.session
    await visit.store.sign_in.end_session(
        session.email, session.id, visit.now_us, action="session.close"
    )
    response = visit.go(visit.url("/sign-in"), "You are signed out.")
    drop_session(response, secure=visit.backoffice.secure)
    return response


def browser_of(visit: PageRequest) -> str:
    """The browser's name, for the list of sessions."""
    text = visit.request.headers.get("user-agent", "")[:_BROWSER_CHARACTERS_MAX]
    return "".join(c for c in text if c.isprintable())


def _normalized(typed: str) -> str:
    try:
        return normalize_email(typed)
    except ValueError:
        return typed.lower()


def _form(
    visit: PageRequest, status: int = 200, *, next_address: str, email: str = "", problem: str = ""
) -> Response:
    return visit.page(
        "sign_in.html", status, next_address=next_address, email=email, problem=problem
    )


SCREENS = (
    get("/sign-in", sign_in_page, Access.NOTHING),
    post("/sign-in", sign_in, Access.NOTHING),
    post("/sign-out", sign_out, Access.SIGNED_IN),
)
