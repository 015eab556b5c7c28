"""`headrace key`: API keys of a project."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from headrace.cli.access.names import check_name
from headrace.cli.shared.durations import duration_us
from headrace.cli.shared.failure import CommandFailed
from headrace.cli.shared.output import AsJson, print_json, print_rows
from headrace.cli.shared.settings import STORE, with_settings
from headrace.cli.shared.stores import ACTOR, DEFAULT_PROJECT, find_project, in_store
from headrace.config import Settings
from headrace.domain.access.api_keys import ANY_ORIGIN, PREFIX, ApiKey, IssuedKey, Scope, issue_key
from headrace.domain.push.app_requests import ORIGINS_MAX, check_origin
from headrace.domain.timestamps import to_text
from headrace.store.store import Store

app = typer.Typer(help="Create, list and revoke API keys.", no_args_is_help=True)

ProjectName = Annotated[str, typer.Option("--project", help="Name of the project.")]


@app.command()
@with_settings(*STORE)
def create(
    settings: Settings,
    project: ProjectName = DEFAULT_PROJECT,
    scope: Annotated[
        list[Scope], typer.Option(help="Scope of the key; repeat the option for several.")
    ] = [Scope.INGEST],  # noqa: B006 - typer reads it and never changes it
    expires: Annotated[
        str,
        typer.Option(
            help="How long the key is valid, such as 30d; without it the key never expires."
        ),
    ] = "",
    origin: Annotated[
        list[str] | None,
        typer.Option(
            help="Origin of pages that may use a key with the scope track, such as "
            "https://shop.example; repeat the option for several, * is every origin."
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the key, shown in lists.")] = "",
    as_json: AsJson = False,
) -> None:
    """Create an API key and print it. It is shown only once.

    Example: headrace key create --project default --scope ingest --scope read --expires 30d
    """
    if name:
        check_name(name, "The name of a key")
    life_us = duration_us(expires) if expires else None
    origins = _origins(origin or [], scope)

    async def work(store: Store) -> tuple[IssuedKey, int]:
        owner = await find_project(store, project)
        at_us = store.clock_us()
        expires_us = None if life_us is None else at_us + life_us
        issued = issue_key(
            owner.id,
            frozenset(scope),
            name=name,
            now_us=at_us,
            expires_us=expires_us,
            origins=origins,
        )
        await store.projects.add_key(issued.key, actor=ACTOR)
        return issued, at_us

    issued, at_us = in_store(settings, work)
    if as_json:
        print_json({"key": issued.text, "project": project, **_view(issued.key, at_us)})
        return
    typer.echo(issued.text)
    typer.echo(
        f"Key {issued.key.public_id} of project {project} ({' '.join(sorted(issued.key.scopes))}). "
        "It is not shown again; a running server accepts it within 5 s.",
        err=True,
    )
    if ANY_ORIGIN in origins:
        typer.echo("Pages of every origin may use this key.", err=True)


def _origins(sent: list[str], scopes: list[Scope]) -> tuple[str, ...]:
    """The checked origins of a key.

    Raises:
        CommandFailed: they do not fit its scopes.
    """
    if Scope.TRACK not in scopes:
        if sent:
            raise CommandFailed("--origin is for keys with the scope track.")
        return ()
    if len(set(scopes)) > 1:
        raise CommandFailed("A key with the scope track is public; it can have no other scope.")
    if not 1 <= len(sent) <= ORIGINS_MAX:
        raise CommandFailed(
            f"A key with the scope track needs 1 to {ORIGINS_MAX} times --origin, such as "
            "--origin https://shop.example, or --origin '*' for every origin."
        )
    try:
        checked = [each if each == ANY_ORIGIN else check_origin(each) for each in sent]
    except ValueError as error:
        raise CommandFailed(f"--origin {error}") from None
    return tuple(dict.fromkeys(checked))


@app.command("list")
@with_settings(*STORE)
def list_(
    settings: Settings, project: ProjectName = DEFAULT_PROJECT, as_json: AsJson = False
) -> None:
    """List the keys of a project, newest first, without their secrets.

    Example: headrace key list --project default
    """

    async def work(store: Store) -> tuple[list[ApiKey], int]:
        owner = await find_project(store, project)
        return list(await store.projects.list_keys(owner.id)), store.clock_us()

    keys, at_us = in_store(settings, work)
    shown = [_view(key, at_us) for key in keys]
    if as_json:
        print_json(shown)
        return
    columns = ("id", "name", "scopes", "status", "created_at", "expires_at")
    rows = [[_cell(key[column]) for column in columns] for key in shown]
    print_rows([column.removesuffix("_at").upper() for column in columns], rows)


@app.command()
@with_settings(*STORE)
def revoke(
    settings: Settings,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="ID of the key, as lists show it.")],
    as_json: AsJson = False,
) -> None:
    """Revoke a key; a running server rejects it within 5 s.

    Example: headrace key revoke 5f0c8a3e9b1d4c72
    """
    # A pasted whole key identifies that key.
    public_id = key_id.split("_")[1] if key_id.startswith(f"{PREFIX}_") else key_id

    async def work(store: Store) -> bool:
        return await store.projects.revoke_key(public_id, store.clock_us(), actor=ACTOR)

    if not in_store(settings, work):
        raise CommandFailed(f"There is no key {public_id!r} that can be revoked.")
    if as_json:
        print_json({"id": public_id, "revoked": True})
    else:
        typer.echo(f"Revoked key {public_id}.")


def _view(key: ApiKey, at_us: int) -> dict[str, Any]:
    return {
        "id": key.public_id,
        "name": key.name,
        "scopes": sorted(scope.value for scope in key.scopes),
        "origins": list(key.origins),
        "status": _status(key, at_us),
        "created_at": to_text(key.created_us),
        "expires_at": None if key.expires_us is None else to_text(key.expires_us),
        "revoked_at": None if key.revoked_us is None else to_text(key.revoked_us),
    }


def _status(key: ApiKey, at_us: int) -> str:
    if key.revoked_us is not None:
        return "revoked"
    return "active" if key.usable_at(at_us) else "expired"


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(value)
    return value or "-"
