"""`headrace policy`: settings of a project."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from headrace.cli.access.key import ProjectName
from headrace.cli.shared.failure import usage
from headrace.cli.shared.output import AsJson, print_json, print_rows
from headrace.cli.shared.settings import STORE, with_settings
from headrace.cli.shared.stores import ACTOR, DEFAULT_PROJECT, find_project, in_store
from headrace.config import Settings
from headrace.domain.access.policies import BOUNDS, DEFAULTS, NAMES, UNITS, Policies, check_policy
from headrace.store.store import Store

app = typer.Typer(help="Show and change the policies of a project.", no_args_is_help=True)

#: How `policy set` is told to lift a limit.
NONE_WORDS = frozenset({"none", "null"})


@app.command("get")
@with_settings(*STORE)
def get(
    settings: Settings,
    name: Annotated[
        str, typer.Argument(help="Name of the policy; without it all policies are shown.")
    ] = "",
    project: ProjectName = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Show policies with their defaults and bounds.

    Example: headrace policy get --project default
    """
    if name:
        _known(name)

    async def work(store: Store) -> Policies:
        owner = await find_project(store, project)
        return (await store.projects.access()).policies.get(owner.id, DEFAULTS)

    policies = in_store(settings, work)
    shown = [_shown(each, policies) for each in (NAMES if not name else (name,))]
    if as_json:
        print_json(shown[0] if name else shown)
        return
    rows = [
        (p["name"], _text(p["value"]), _text(p["default"]), _bounds(p["name"]), p["unit"])
        for p in shown
    ]
    print_rows(("POLICY", "VALUE", "DEFAULT", "BOUNDS", "UNIT"), rows)


@app.command("set")
@with_settings(*STORE)
def set_(
    settings: Settings,
    name: Annotated[str, typer.Argument(help="The policy.")],
    value: Annotated[str, typer.Argument(help="The new value; none removes a limit.")],
    project: ProjectName = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Change a policy; a running server applies it within 5 s.

    Example: headrace policy set --project default event_ingest_limit_per_second 500
    """
    _known(name)
    try:
        checked = check_policy(name, None if value.lower() in NONE_WORDS else value)
    except ValueError as error:
        raise usage(f"{name} {error}, got {value!r}") from None

    async def work(store: Store) -> Any:
        owner = await find_project(store, project)
        return await store.projects.set_policy(
            owner.id, name, checked, store.clock_us(), actor=ACTOR
        )

    before = in_store(settings, work)
    if as_json:
        print_json({"project": project, "name": name, "from": before, "to": checked})
    else:
        typer.echo(f"{name}: {_text(before)} -> {_text(checked)}")


def _known(name: str) -> None:
    if name not in NAMES:
        raise usage(f"There is no policy {name!r}. Policies: {', '.join(NAMES)}")


def _shown(name: str, policies: Policies) -> dict[str, Any]:
    low, high = BOUNDS.get(name, (None, None))
    return {
        "name": name,
        "value": getattr(policies, name),
        "default": getattr(DEFAULTS, name),
        "minimum": low,
        "maximum": high,
        "unit": UNITS[name],
    }


def _bounds(name: str) -> str:
    low, high = BOUNDS.get(name, (None, None))
    return "-" if low is None or high is None else f"{low:g} to {high:.10g}"


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else msgspec.json.encode(value).decode().strip('"')
