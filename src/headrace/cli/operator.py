"""`headrace operator`: people who may change policies over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from headrace.cli.failure import CommandFailed, usage
from headrace.cli.output import AsJson, print_json, print_rows
from headrace.cli.settings import STORE, with_settings
from headrace.cli.stores import ACTOR, in_store
from headrace.config import Settings
from headrace.domain.operators import IssuedToken, Operator, issue_token
from headrace.store.contract import Store, StoreConflictError

app = typer.Typer(help="Create operators and renew their tokens.", no_args_is_help=True)

Email = Annotated[str, typer.Option("--email", help="E-mail address of the operator.")]


@app.command()
@with_settings(*STORE)
def create(settings: Settings, email: Email, as_json: AsJson = False) -> None:
    """Create an operator and show the token, this once.

    Example: headrace operator create --email you@example.org
    """
    issued = _issue(email)

    async def work(store: Store) -> None:
        await store.operators.add(issued.operator, actor=ACTOR)

    try:
        in_store(settings, work, create=True)
    except StoreConflictError as error:
        if error.args[0] == "email":
            raise CommandFailed(
                f"There is an operator {issued.operator.email} already. Another token: "
                f"headrace operator reset-token --email {issued.operator.email}"
            ) from None
        raise CommandFailed("There are too many operators already.") from None
    _show(issued, as_json=as_json)


@app.command("reset-token")
@with_settings(*STORE)
def reset_token(settings: Settings, email: Email, as_json: AsJson = False) -> None:
    """Give an operator another token; the one before stops working within 5 s.

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

    shown = [_shown(operator) for operator in in_store(settings, work)]
    if as_json:
        print_json(shown)
        return
    rows = [(o["id"], o["email"], o["created_at"]) for o in shown]
    print_rows(("ID", "EMAIL", "CREATED"), rows)


def _issue(email: str) -> IssuedToken:
    from headrace.domain.email import normalize_email
    from headrace.domain.timestamps import now_us

    try:
        return issue_token(normalize_email(email), now_us())
    except ValueError as error:
        raise usage(f"--email {error}") from None


def _show(issued: IssuedToken, *, as_json: bool) -> None:
    if as_json:
        print_json({"token": issued.text, **_shown(issued.operator)})
        return
    typer.echo(issued.text)
    typer.echo(
        f"Token of operator {issued.operator.email}. It is not shown again; a running server takes "
        "it within 5 s.",
        err=True,
    )


def _shown(operator: Operator) -> dict[str, Any]:
    from headrace.domain.timestamps import to_text

    return {
        "id": operator.id,
        "email": operator.email,
        "created_at": to_text(operator.created_us),
    }
