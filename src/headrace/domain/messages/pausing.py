"""The emergency stop as people set it: one channel or one sending domain more or less.

The policy `sending_paused` is `none`, `all`, `mail`, `push`, or an array of domains.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headrace.domain.messages.sending_policies import PAUSED_DOMAINS_MAX

#: From a value of the policy to the next one; raises PauseError.
Pause = Callable[[Any], Any]
_CHANNELS: dict[str, frozenset[str]] = {
    "none": frozenset(),
    "mail": frozenset({"mail"}),
    "push": frozenset({"push"}),
    "all": frozenset({"mail", "push"}),
}


class PauseError(Exception):
    """The stop cannot be changed so; its text is a sentence for the operator."""


def pause_all(channel: str) -> Pause:
    """Stop `mail`, `push` or `all`. Domains that were stopped are among what stops."""

    def change(before: Any) -> Any:
        held = _CHANNELS["none"] if isinstance(before, list) else _CHANNELS[before]
        if isinstance(before, list) and before and channel == "push":
            message = f"Mail of {', '.join(before)} is paused; pause all instead."
            raise PauseError(message)
        return _named(held | _CHANNELS[channel])

    return change


def resume_all(channel: str) -> Pause:
    """Let `mail`, `push` or `all` go again, with every domain."""

    def change(before: Any) -> Any:
        if isinstance(before, list):
            return before if channel == "push" else "none"
        return _named(_CHANNELS[before] - _CHANNELS[channel])

    return change


def pause_domain(name: str) -> Pause:
    """Stop mail of one sending domain."""

    def change(before: Any) -> Any:
        if not isinstance(before, list):
            if "mail" in _CHANNELS[before]:
                # It is stopped with all the others.
                return before
            if before != "none":
                message = "Push is paused; pause all instead, or resume it first."
                raise PauseError(message)
        domains = sorted({*(before if isinstance(before, list) else ()), name})
        if len(domains) > PAUSED_DOMAINS_MAX:
            message = f"At most {PAUSED_DOMAINS_MAX} domains are paused one by one; pause all mail."
            raise PauseError(message)
        return domains

    return change


def resume_domain(name: str) -> Pause:
    """Let mail of one sending domain go again."""

    def change(before: Any) -> Any:
        if not isinstance(before, list):
            if "mail" in _CHANNELS[before]:
                message = "All mail is paused; resume it without naming a domain."
                raise PauseError(message)
            return before
        return [one for one in before if one != name] or "none"

    return change


def _named(channels: frozenset[str]) -> str:
    return next(name for name, held in _CHANNELS.items() if held == channels)
