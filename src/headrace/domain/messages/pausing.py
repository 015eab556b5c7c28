"""The emergency stop as people set it: one channel or one sending domain more or less.

The policy `sending_paused` is `none`, `all`, `mail`, `push`, or an array of domains, which may also
name the channels `mail` and `push`: a stop of a domain outlasts one of its channel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from headrace.domain.messages.kinds import Channel
from headrace.domain.messages.sending_policies import (
    PAUSED_DOMAINS_MAX,
    SendingPaused,
    parse_sending_paused,
)

#: From a value of the policy to the next one; raises PauseError.
Pause = Callable[[Any], Any]


class PauseError(Exception):
    """The stop cannot be changed so; its text is a sentence for the operator."""


def pause_all(channel: str) -> Pause:
    """Stop `mail`, `push` or `all`. Domains that were stopped stay so."""

    def change(before: Any) -> Any:
        held = parse_sending_paused(before)
        return value_of(held.channels | _channels(channel), held.domains)

    return change


def resume_all(channel: str) -> Pause:
    """Resume `mail` or `push`, without the domains that were stopped, or `all` with them."""

    def change(before: Any) -> Any:
        if channel == "all":
            return "none"
        held = parse_sending_paused(before)
        return value_of(held.channels - _channels(channel), held.domains)

    return change


def pause_domain(name: str) -> Pause:
    """Stop mail of one sending domain."""

    def change(before: Any) -> Any:
        held = parse_sending_paused(before)
        domains = held.domains | {name}
        if len(domains) > PAUSED_DOMAINS_MAX:
            message = f"At most {PAUSED_DOMAINS_MAX} domains are paused one by one; pause all mail."
            raise PauseError(message)
        return value_of(held.channels, domains)

    return change


def resume_domain(name: str) -> Pause:
    """Resume mail of one sending domain; it still waits while all mail is stopped."""

    def change(before: Any) -> Any:
        held = parse_sending_paused(before)
        return value_of(held.channels, held.domains - {name})

    return change


def value_of(channels: Iterable[Channel], domains: Iterable[str]) -> Any:
    """The value of the policy that stops these."""
    stopped = sorted(channels)
    if domains := sorted(domains):
        return [*(channel.value for channel in stopped), *domains]
    if len(stopped) == len(Channel):
        return "all"
    return stopped[0].value if stopped else "none"


def stops_of(paused: SendingPaused) -> list[str]:
    """Each stop by its name, as `pause_all` and `pause_domain` take it; channels first."""
    return [*(channel.value for channel in sorted(paused.channels)), *sorted(paused.domains)]


def _channels(name: str) -> frozenset[Channel]:
    return frozenset(Channel) if name == "all" else frozenset({Channel(name)})
