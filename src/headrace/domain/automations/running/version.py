"""A published definition, ready for decisions."""

from __future__ import annotations

from functools import cached_property

from headrace.domain.automations.definition.graph import Graph
from headrace.domain.automations.definition.model import (
    Alternative,
    Definition,
    DelayConfig,
    Step,
    WaitConfig,
)
from headrace.domain.automations.running.delays import depends_on_contact_zone
from headrace.domain.automations.running.view import Needs, needs
from headrace.domain.contacts.contact import CONTACT_UPDATED


class Version:
    """One version of one automation; immutable, so it can be cached and shared.

    Args:
        automation_id: whose version it is.
        number: from 1.
        definition: one that passed the publish checks, names resolved.
    """

    def __init__(self, automation_id: str, number: int, definition: Definition) -> None:
        self.automation_id = automation_id
        self.number = number
        self.definition = definition
        self.graph = Graph(definition)

    def step(self, key: str) -> Step:
        """The step of that key.

        Raises:
            KeyError: the version has none.
        """
        return self.graph.steps[key]

    def exit_rule(self, number: int) -> Alternative:
        """An exit rule by its index in the definition."""
        return self.definition.exit_on[number]

    def waits_after(self, key: str) -> bool:
        """Whether a wait for an event may follow a step, or the trigger, at once."""
        following = (self.step(each) for each in self.graph.following(key))
        return any(isinstance(step.config, WaitConfig) for step in following)

    @cached_property
    def awaited_names(self) -> frozenset[str]:
        """Names of all events that open runs of this version may wait for."""
        waited = (
            each.event_name
            for step in self.definition.steps
            if isinstance(step.config, WaitConfig)
            for each in step.config.alternatives
        )
        return frozenset((*waited, *(rule.event_name for rule in self.definition.exit_on)))

    @cached_property
    def depends_on_contact(self) -> bool:
        """Whether a change of the contact can move the end of a delay."""
        return any(
            isinstance(step.config, DelayConfig) and depends_on_contact_zone(step.config)
            for step in self.definition.steps
        )

    @cached_property
    def needs(self) -> Needs:
        """Ids of objects that the view of each of its runs must contain."""
        return needs(self.definition)

    @cached_property
    def event_names(self) -> frozenset[str]:
        """Names of all events that may start a run of this version, or change an open one."""
        changes = {CONTACT_UPDATED} if self.depends_on_contact else set[str]()
        return self.awaited_names | changes | {self.definition.trigger.event_name}
