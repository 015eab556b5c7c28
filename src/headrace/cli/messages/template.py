"""`headrace template`: e-mail templates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.access.key import ProjectName
from headrace.cli.messages.views import LIMIT_MAX, cell, json_members, template_view
from headrace.cli.shared.failure import CommandFailed, usage
from headrace.cli.shared.output import AsJson, print_json, print_rows, printable
from headrace.cli.shared.settings import STORE, with_settings
from headrace.cli.shared.stores import ACTOR, DEFAULT_PROJECT, find_project, in_store
from headrace.config import Settings
from headrace.domain.ids import UUID_TEXT
from headrace.domain.messages.kinds import TemplateStatus
from headrace.store.store import Store

if TYPE_CHECKING:
    from headrace.pipeline.messages.templating import Published
    from headrace.store.contract.messages import Template

app = typer.Typer(help="Create, publish and list templates.", no_args_is_help=True)

#: Above the limit of any template.
FILE_BYTES_MAX = 1024 * 1024


@app.command("list")
@with_settings(*STORE)
def list_(
    settings: Settings,
    project: ProjectName = DEFAULT_PROJECT,
    status: Annotated[
        TemplateStatus | None, typer.Option(help="Only those in this status.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=LIMIT_MAX, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List templates, newest first.

    Example: headrace template list --status active
    """

    async def work(store: Store) -> list[Template]:
        owner = await find_project(store, project)
        templates = store.messages.templates
        return list(await templates.search(owner.id, status=status, before=None, limit=limit))

    shown = [template_view(found) for found in in_store(settings, work)]
    if as_json:
        print_json(shown)
        return
    names = ("id", "name", "channel", "status", "versions", "has_changes", "updated_at")
    print_rows([name.upper() for name in names], [[cell(e[name]) for name in names] for e in shown])


@app.command()
@with_settings(*STORE)
def create(  # noqa: PLR0913, PLR0917 - one parameter a flag
    settings: Settings,
    name: Annotated[str, typer.Argument(help="Name of the template.")],
    subject: Annotated[str, typer.Option(help="Liquid of the subject.")],
    html: Annotated[Path | None, typer.Option(help="File with the Liquid of the HTML.")] = None,
    text: Annotated[
        Path | None, typer.Option(help="File with the Liquid of the text; else derived.")
    ] = None,
    preview: Annotated[str, typer.Option(help="What inboxes show beside the subject.")] = "",
    publish_it: Annotated[bool, typer.Option("--publish", help="Publish it at once.")] = False,
    project: ProjectName = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Create an e-mail template from files.

    Example: headrace template create Welcome --subject "Welcome!" --html welcome.html --publish
    """
    from headrace.domain.errors import ApiError
    from headrace.domain.messages.requests import decode_template
    from headrace.store.contract.errors import StoreConflictError

    body = json_members(
        name=name,
        channel="email",
        subject_template=subject,
        preview_text=preview,
        rendered_html=_read(html),
        rendered_text=_read(text),
    )
    try:
        fields = decode_template(body)
    except ApiError as error:
        raise _wrong(error) from None

    async def work(store: Store) -> tuple[Template, Published | None]:
        owner = await find_project(store, project)
        made = await store.messages.templates.create(owner.id, fields, store.clock_us())
        if not publish_it:
            return made, None
        published = await _publish(store, owner.id, made.id)
        return await store.messages.templates.get(owner.id, made.id) or made, published

    try:
        made, published = in_store(settings, work)
    except StoreConflictError:
        raise CommandFailed(f"There is a template {name!r} already.") from None
    if as_json:
        print_json(template_view(made) | _published(published))
    else:
        typer.echo(f"Created template {printable(made.name)}: {made.id}")
        _print_published(published)


@app.command()
@with_settings(*STORE)
def publish(
    settings: Settings,
    which: Annotated[str, typer.Argument(metavar="ID|NAME", help="The template.")],
    project: ProjectName = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Publish the draft of a template; only versions are sent.

    Example: headrace template publish Welcome
    """

    async def work(store: Store) -> Published | None:
        owner, templates = await find_project(store, project), store.messages.templates
        if UUID_TEXT.fullmatch(which):
            found = await templates.get(owner.id, which.lower())
        else:
            found = await templates.by_name(owner.id, which)
        return None if found is None else await _publish(store, owner.id, found.id)

    published = in_store(settings, work)
    if published is None:
        raise CommandFailed(f"There is no such template in project {project}.")
    if as_json:
        print_json(_published(published))
    else:
        _print_published(published)


async def _publish(store: Store, project_id: int, template_id: str) -> Published | None:
    from headrace.domain.errors import ApiError
    from headrace.pipeline.messages.templating import Templating

    try:
        return await Templating(store).publish(project_id, template_id, actor=ACTOR)
    except ApiError as error:
        raise _wrong(error) from None


def _wrong(error: Any) -> CommandFailed:
    problems = "; ".join(f"{one.field} {one.message}" for one in error.details) or error.message
    return usage(printable(problems))


def _read(path: Path | None) -> str:
    if path is None:
        return ""
    with path.open("rb") as file:
        content = file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise usage(f"{path} is larger than {FILE_BYTES_MAX} bytes.")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise usage(f"{path} is not UTF-8.") from None


def _published(published: Published | None) -> dict[str, Any]:
    if published is None:
        return {}
    version = published.version
    return {
        "version_id": version.id,
        "version_number": version.number,
        "warnings": [f"{one.field} {one.message}" for one in published.warnings],
    }


def _print_published(published: Published | None) -> None:
    if published is None:
        return
    version = published.version
    typer.echo(f"Published version {version.number}; its id for sends: {version.id}")
    for one in published.warnings:
        typer.echo(printable(f"warning: {one.field} {one.message}"), err=True)
