"""`headrace policy`: settings of a project."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from headrace.cli.access.key import ProjectName
from headrace.cli.shared.failure import usage
from headrace.cli.shared.output import AsJson, print_json, print_rows
from headrace.cli.shared.settings import STORE, with_settings
from headrace.cli.shared.stores import ACTOR, DEFAULT_PROJECT, find_project, in_store
from headrace.config import Settings
from headrace.pipeline.access.policies import (
    POLICY_NAMES,
    policy_facts,
    typed_value,
    value_text,
)
from headrace.store.store import Store

app = typer.Typer(help="Show and change the policies of a project.", no_args_is_help=True)


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

    async def work(store: Store) -> dict[str, Any]:
        return await store.projects.policy_values((await find_project(store, project)).id)

    values = in_store(settings, work)
    shown = [_view(each, values[each]) for each in (POLICY_NAMES if not name else (name,))]
    if as_json:
        print_json(shown[0] if name else shown)
        return
    rows = [
        (p["name"], value_text(p["value"]), value_text(p["default"]), _bounds(p["name"]), p["unit"])
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
        checked = typed_value(name, value)
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
        typer.echo(f"{name}: {value_text(before)} -> {value_text(checked)}")


def _known(name: str) -> None:
    if name not in POLICY_NAMES:
        raise usage(f"There is no policy {name!r}. Policies: {', '.join(POLICY_NAMES)}")


def _view(name: str, value: Any) -> dict[str, Any]:
    facts = policy_facts(name)
    low, high = facts.bounds or (None, None)
    return {
        "name": name,
        "value": value,
        "default": facts.default,
        "minimum": low,
        "maximum": high,
        "unit": facts.unit,
    }


def _bounds(name: str) -> str:
    low, high = policy_facts(name).bounds or (None, None)
    return "-" if low is None or high is None else f"{low:g} to {high:.10g}"
