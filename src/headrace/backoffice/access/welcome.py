"""A sign-in link: set a password with it and sign in."""

from __future__ import annotations

from starlette.responses import Response

from headrace.backoffice.access.sign_in import browser_of
from headrace.backoffice.shell.addresses import client_address
from headrace.backoffice.shell.context import PREFIX
from headrace.backoffice.shell.cookies import write_session
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get, post
from headrace.domain.access.sign_in import (
    PASSWORD_CHARACTERS_MIN,
    Link,
    issue,
    issue_session,
    password_problem,
    token_hash,
)
from headrace.domain.email import normalize_email


async def welcome(visit: PageRequest) -> Response:
    """Show the form. A GET does not use up the link: mail programs prefetch links."""
    link = await _link(visit)
    return _over(visit) if link is None else _form(visit, link)


async def use_link(visit: PageRequest) -> Response:
    """Set the password; this invalidates the link and all other sessions of the operator."""
    link = await _link(visit)
    if link is None:
        return _over(visit)
    problems: dict[str, str] = {}
    typed = link.email or visit.form.text("email")
    email = typed
    try:
        email = normalize_email(typed)
    except ValueError as error:
        problems["email"] = f"The address {error}."
    password = visit.form.raw("password")
    if problem := password_problem(password):
        problems["password"] = problem
    elif password != visit.form.raw("again"):
        problems["again"] = "The passwords do not match. Type them again."
    if problems:
        return _form(visit, link, 422, email=typed, problems=problems)
    return await _signed_in(visit, link, email, await visit.backoffice.passwords.hash(password))


async def _signed_in(visit: PageRequest, link: Link, email: str, password_hash: str) -> Response:
    address = client_address(visit.request, visit.backoffice.trusted_proxies)
    token, session = issue_session(email, visit.now_us, address=address, browser=browser_of(visit))
    used = await visit.store.sign_in.use_link(
        link.token_hash, password_hash, session, issue().token_hash
    )
    if not used:
        return _over(visit)
    response = visit.go(PREFIX, "Welcome. From now on sign in with e-mail and password.")
    write_session(response, token, secure=visit.backoffice.secure)
    return response


async def _link(visit: PageRequest) -> Link | None:
    hashed = token_hash(visit.request.path_params["token"])
    return await visit.store.sign_in.link(hashed, visit.now_us)


def _over(visit: PageRequest) -> Response:
    return visit.page("link_over.html", 410)


def _form(
    visit: PageRequest,
    link: Link,
    status: int = 200,
    *,
    email: str = "",
    problems: dict[str, str] | None = None,
) -> Response:
    return visit.page(
        "welcome.html",
        status,
        link=link,
        email=link.email or email,
        problems=problems or {},
        characters_min=PASSWORD_CHARACTERS_MIN,
    )


SCREENS = (
    get("/welcome/{token}", welcome, Access.NOTHING),
    post("/welcome/{token}", use_link, Access.NOTHING),
)
