"""`headrace operator`: people who may sign in to the backoffice, and tokens of the operator API."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from headrace.cli.shared.failure import CommandFailed, usage
from headrace.cli.shared.output import AsJson, print_json, print_rows
from headrace.cli.shared.settings import LINK, STORE, with_settings
from headrace.cli.shared.stores import ACTOR, in_store
from headrace.config import Settings
from headrace.domain.access.operators import IssuedToken, Operator, issue_token
from headrace.store.contract.errors import StoreConflictError
from headrace.store.store import Store

app = typer.Typer(
    help="Create operators, make sign-in links and renew tokens.", no_args_is_help=True
)

Email = Annotated[str, typer.Option("--email", help="E-mail address of the operator.")]


@app.command()
@with_settings(*STORE, *LINK)
def create(settings: Settings, email: Email, as_json: AsJson = False) -> None:
    """Create an owner of the instance; print the token and a sign-in link once.

    Example: headrace operator create --email you@example.org
    """
    issued = _issue(email)

    async def work(store: Store) -> str:
        await store.operators.add(issued.operator, actor=ACTOR)
        return await _make_link(store, issued.operator.email) or ""

    try:
        token = in_store(settings, work, create=True)
    except StoreConflictError as error:
        if error.args[0] == "email":
            raise CommandFailed(
                f"Operator {issued.operator.email} already exists. Another token: "
                f"headrace operator reset-token --email {issued.operator.email}"
            ) from None
        raise CommandFailed("The maximum number of operators is reached.") from None
    link = _link_address(settings, token)
    if as_json:
        print_json({"token": issued.text, "sign_in": link, **_view(issued.operator)})
        return
    _show(issued, as_json=False)
    typer.echo(f"Sign in to the backoffice (the link works once, for 24 hours): {link}", err=True)


@app.command("reset-password")
@with_settings(*STORE, *LINK)
def reset_password(settings: Settings, email: Email, as_json: AsJson = False) -> None:
    """Print a link that lets an operator set a new password and sign in once.

    The link is valid for 24 hours. Using it ends the old password and all sessions.

    Example: headrace operator reset-password --email you@example.org
    """
    address = _normalized(email)

    async def work(store: Store) -> str | None:
        return await _make_link(store, address)

    token = in_store(settings, work)
    if token is None:
        raise CommandFailed(f"There is no operator {address}.")
    link = _link_address(settings, token)
    if as_json:
        print_json({"email": address, "sign_in": link})
        return
    typer.echo(link)
    typer.echo(f"Anyone who opens it signs in as {address}. It is not shown again.", err=True)


@app.command("reset-token")
@with_settings(*STORE)
def reset_token(settings: Settings, email: Email, as_json: AsJson = False) -> None:
    """Give an operator a new token; the old one stops working within 5 s.

    Example: headrace operator reset-token --email you@example.org
    """
    issued = _issue(email)

    async def work(store: Store) -> bool:
        return await store.operators.replace_token(issued.operator, actor=ACTOR)

    if not in_store(settings, work):
        raise CommandFailed(f"There is no operator {issued.operator.email}.")
    _show(issued, as_json=as_json)


@app.command("list")
@with_settings(*STORE)
def list_(settings: Settings, as_json: AsJson = False) -> None:
    """List operators, without their tokens.

    Example: headrace operator list
    """

    async def work(store: Store) -> list[Operator]:
        return list(await store.operators.list())

    shown = [_view(operator) for operator in in_store(settings, work)]
    if as_json:
        print_json(shown)
        return
    rows = [
        (o["id"], o["email"], "owner" if o["is_owner"] else "-", o["created_at"]) for o in shown
    ]
    print_rows(("ID", "EMAIL", "INSTANCE", "CREATED"), rows)


async def _make_link(store: Store, email: str) -> str | None:
    """Token of a sign-in link for an operator, None when no operator has that address."""
    from headrace.domain.access.sign_in import issue_link

    token, link = issue_link(email, store.clock_us())
    return token if await store.sign_in.add_link(link, actor=ACTOR) else None


def _link_address(settings: Settings, token: str) -> str:
    from headrace.domain.access.sign_in import link_address

    return link_address(settings.public_url or settings.url, token)


def _normalized(email: str) -> str:
    from headrace.domain.email import normalize_email

    try:
        return normalize_email(email)
    except ValueError as error:
        raise usage(f"--email {error}") from None


def _issue(email: str) -> IssuedToken:
    from headrace.domain.timestamps import now_us

    return issue_token(_normalized(email), now_us())


def _show(issued: IssuedToken, *, as_json: bool) -> None:
    if as_json:
        print_json({"token": issued.text, **_view(issued.operator)})
        return
    typer.echo(issued.text)
    typer.echo(
        f"Token of operator {issued.operator.email}. It is not shown again; a running server takes "
        "it within 5 s.",
        err=True,
    )


def _view(operator: Operator) -> dict[str, Any]:
    from headrace.domain.timestamps import to_text

    return {
        "id": operator.id,
        "email": operator.email,
        "is_owner": operator.is_owner,
        "created_at": to_text(operator.created_us),
    }
