"""What exists in a project of all that a definition refers to."""

from __future__ import annotations

from collections.abc import Iterable

from headrace.domain.automations.definition.model import Definition, Reference
from headrace.domain.automations.definition.publish_checks import membership_reference
from headrace.domain.automations.definition.references import (
    References,
    Referred,
    TemplateFacts,
    references_of,
)
from headrace.domain.automations.running.view import needs
from headrace.domain.labels import check_name
from headrace.domain.messages.kinds import DomainStatus
from headrace.store.contract.messages import Domain, TemplateVersion
from headrace.store.engine.dialect import Statement, sql
from headrace.store.engine.transaction import Transaction
from headrace.store.messages.content.domains import BY_NAME as DOMAIN_BY_NAME
from headrace.store.messages.content.domains import GET as DOMAIN
from headrace.store.messages.content.domains import domain
from headrace.store.messages.content.templates import BY_NAME as TEMPLATE_BY_NAME
from headrace.store.messages.content.templates import (
    VERSION_BY_NUMBER,
    find_version,
    template,
    version,
)
from headrace.store.push.apps import BY_NAME as APP_BY_NAME
from headrace.store.push.apps import GET as APP
from headrace.store.push.apps import push_app

_LIVE = "FROM {} WHERE project_id = $1 AND {} = ANY($2::text[]) AND deleted_us IS NULL"
TOPICS = sql(f"SELECT id, name {_LIVE.format('topics', 'id')}")
TOPICS_BY_NAME = sql(f"SELECT id, name {_LIVE.format('topics', 'name')}")
AUDIENCES = sql(f"SELECT id, name {_LIVE.format('audiences', 'id')}")
AUDIENCES_BY_NAME = sql(f"SELECT id, name {_LIVE.format('audiences', 'name')}")
_CHANNEL = sql("SELECT channel FROM templates WHERE project_id = $1 AND id = $2")


async def read_references(tx: Transaction, project_id: int, of: Definition) -> References:
    """Read templates, domains, topics, audiences and push apps that a definition names.

    Names and ids that do not exist are missing in the result.
    """
    wanted = _wanted(of)
    names: dict[tuple[Referred, str], str] = {}
    lists: dict[Referred, frozenset[str]] = {}
    for kind, by_id, by_name in (
        (Referred.TOPIC, TOPICS, TOPICS_BY_NAME),
        (Referred.AUDIENCE, AUDIENCES, AUDIENCES_BY_NAME),
    ):
        lists[kind], found = await _find_listed(tx, project_id, wanted[kind], by_id, by_name)
        names |= {(kind, name): held_id for name, held_id in found.items()}
    templates: dict[str, TemplateFacts] = {}
    for each in wanted[Referred.TEMPLATE]:
        held = await _template_version(tx, project_id, each)
        if held is not None:
            templates[held[0].id] = held[1]
            if each.name is not None:
                names[Referred.TEMPLATE, each.name] = held[0].id
    domains: dict[str, bool] = {}
    for each in wanted[Referred.DOMAIN]:
        sender = await _domain(tx, project_id, each)
        if sender is not None:
            domains[sender.id] = sender.status is DomainStatus.VERIFIED
            if each.name is not None:
                names[Referred.DOMAIN, each.name] = sender.id
    apps = await _find_apps(tx, project_id, wanted[Referred.APP])
    names |= {(Referred.APP, each.name): held_id for each, held_id in apps if each.name is not None}
    return References(
        templates=templates,
        apps=frozenset(held_id for _, held_id in apps),
        domains=domains,
        topics=lists[Referred.TOPIC],
        audiences=lists[Referred.AUDIENCE],
        names=names,
    )


async def _find_listed(
    tx: Transaction, project_id: int, asked: list[Reference], by_id: Statement, by_name: Statement
) -> tuple[frozenset[str], dict[str, str]]:
    """Ids of topics or audiences, and the ids of those that were asked for by name."""
    ids = [each.id for each in asked if each.id is not None]
    stored = {_stored_name(each.name): each.name for each in asked if each.name is not None}
    found = {row[0] for row in await tx.rows(by_id, project_id, ids)}
    named = await tx.rows(by_name, project_id, list(stored))
    names = {stored[row[1]]: row[0] for row in named}
    return frozenset(found | {*names.values()}), names


async def _domain(tx: Transaction, project_id: int, reference: Reference) -> Domain | None:
    if reference.id is not None:
        row = await tx.row(DOMAIN, project_id, reference.id)
    else:
        row = await tx.row(DOMAIN_BY_NAME, project_id, (reference.name or "").lower())
    return None if row is None else domain(row)


async def _find_apps(
    tx: Transaction, project_id: int, asked: list[Reference]
) -> list[tuple[Reference, str]]:
    """Those push apps that exist, with their ids."""
    found: list[tuple[Reference, str]] = []
    for each in asked:
        if each.id is not None:
            row = await tx.row(APP, project_id, each.id)
        else:
            row = await tx.row(APP_BY_NAME, project_id, each.name)
        if row is not None:
            found.append((each, push_app(row).id))
    return found


def _wanted(of: Definition) -> dict[Referred, list[Reference]]:
    found: dict[Referred, list[Reference]] = {kind: [] for kind in Referred}
    for step in of.steps:
        for kind, reference in references_of(step):
            found[kind].append(reference)
    # Filters may name audiences and topics, too.
    named = needs(of)
    found[Referred.AUDIENCE] += map(membership_reference, named.audiences)
    found[Referred.TOPIC] += map(membership_reference, named.topics)
    return {kind: _once(references) for kind, references in found.items()}


def _once(references: Iterable[Reference]) -> list[Reference]:
    return list({(each.id, each.name): each for each in references}.values())


def _stored_name(name: str) -> str:
    """A name as topics and audiences store it; one that they cannot have stays as it is."""
    try:
        return check_name(name)
    except ValueError:
        return name


async def _template_version(
    tx: Transaction, project_id: int, reference: Reference
) -> tuple[TemplateVersion, TemplateFacts] | None:
    """The version of an id, or the newest one of the template of a name."""
    found = None
    if reference.id is not None:
        found = await find_version(tx, project_id, reference.id)
    else:
        held = await tx.row(TEMPLATE_BY_NAME, project_id, reference.name)
        named = None if held is None else template(held)
        if named is not None and named.versions:
            row = await tx.row(VERSION_BY_NUMBER, project_id, named.id, named.versions)
            found = None if row is None else version(row)
    if found is None:
        return None
    channel = await tx.value(_CHANNEL, project_id, found.template_id)
    # A bare name may also be a field of the payload or of the contact, so no variable is known to
    # have no source; without a value the mail is skipped.
    return found, TemplateFacts(channel=channel or "email")
