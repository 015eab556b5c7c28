"""What a run that is overdue would send as soon as it goes on."""

from __future__ import annotations

from headrace.domain.automations.definition.model import (
    DelayConfig,
    EmailConfig,
    PushConfig,
    WaitConfig,
)
from headrace.domain.automations.running.version import Version


def sends_next(version: Version, key: str) -> tuple[str, ...]:
    """Keys of the sends that may follow a step before the run waits again.

    Args:
        key: the step that the run is at; its own message counts, since it is not sent yet.
    """
    if key not in version.graph.steps:
        return ()
    if isinstance(version.step(key).config, EmailConfig | PushConfig):
        return (key,)
    found: set[str] = set()
    seen = {key}
    left = list(version.graph.following(key))
    while left:
        each = left.pop()
        if each in seen:
            continue
        seen.add(each)
        config = version.step(each).config
        if isinstance(config, EmailConfig | PushConfig):
            found.add(each)
        elif not isinstance(config, DelayConfig | WaitConfig):
            left += version.graph.following(each)
    return tuple(sorted(found))
