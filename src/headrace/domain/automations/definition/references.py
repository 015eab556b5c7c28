"""References of a definition: what exists in the project, and names turned into ids."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from headrace.domain.automations.definition.model import (
    AudienceConfig,
    EmailConfig,
    PushConfig,
    Reference,
    Step,
    TopicConfig,
)


class Referred(StrEnum):
    """Kinds of objects that steps refer to."""

    TEMPLATE = "template"
    DOMAIN = "domain"
    TOPIC = "topic"
    AUDIENCE = "audience"
    APP = "app"


#: Member of a config that holds the id.
ID_MEMBER: Mapping[Referred, str] = {
    Referred.TEMPLATE: "template_version_id",
    Referred.DOMAIN: "domain_id",
    Referred.TOPIC: "topic_id",
    Referred.AUDIENCE: "audience_id",
    Referred.APP: "app_id",
}


class TemplateFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts about a template version that publishing needs."""

    #: `email` or `push`.
    channel: str
    published: bool = True
    #: Variables without a default, other than those of the contact.
    variables: frozenset[str] = frozenset()


class References(msgspec.Struct, frozen=True, kw_only=True):
    """What exists in a project, read before the checks. Keys are ids unless they say `names`."""

    templates: Mapping[str, TemplateFacts] = {}
    #: Whether the domain is verified.
    domains: Mapping[str, bool] = {}
    topics: frozenset[str] = frozenset()
    audiences: frozenset[str] = frozenset()
    apps: frozenset[str] = frozenset()
    #: Kind and name -> id; a template's name stands for its newest published version.
    names: Mapping[tuple[Referred, str], str] = {}
    #: Event name -> known paths of its payload; None when the catalog was not read.
    catalog: Mapping[str, frozenset[str]] | None = None

    def find(self, kind: Referred, reference: Reference) -> str | None:
        """The id of the referenced object; None when it does not exist."""
        found = reference.id
        if found is None and reference.name is not None:
            found = self.names.get((kind, reference.name))
        return found if found is not None and self._exists(kind, found) else None

    def _exists(self, kind: Referred, found: str) -> bool:
        match kind:
            case Referred.TEMPLATE:
                return found in self.templates
            case Referred.DOMAIN:
                return found in self.domains
            case Referred.TOPIC:
                return found in self.topics
            case Referred.AUDIENCE:
                return found in self.audiences
        return found in self.apps


def references_of(step: Step) -> list[tuple[Referred, Reference]]:
    """Everything that the config of a step refers to."""
    match step.config:
        case EmailConfig(template=template, topic=topic, domain=domain):
            found = [(Referred.TEMPLATE, template), (Referred.DOMAIN, domain)]
        case PushConfig(template=template, topic=topic, app=app):
            found = [(Referred.TEMPLATE, template), (Referred.APP, app)]
        case AudienceConfig(audience):
            return [(Referred.AUDIENCE, audience)]
        case TopicConfig(topic):
            return [(Referred.TOPIC, topic)]
        case _:
            return []
    return found if topic is None else [*found, (Referred.TOPIC, topic)]
