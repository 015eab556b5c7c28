"""The registry of handlers: functions registered with `@on`."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from headrace.delivery.handlers.event import Event
from headrace.domain.deliveries.subscriptions import PATTERNS_MAX, check_pattern

HANDLERS_MAX = 256
_NAME_CHARACTERS_MAX = 200

HandlerFunction = Callable[[Event], Awaitable[None] | None]
F = TypeVar("F", bound=Callable[..., Any])


class Permanent(Exception):
    """Raised by a handler: the event cannot be handled, now or later. It is dead-lettered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Handler:
    """A registered function."""

    #: Identifies the subscriber across restarts: module and name of the function by default.
    name: str
    patterns: tuple[str, ...]
    function: HandlerFunction
    is_async: bool


class HandlerRegistry:
    """The handlers of one process, by name. Filled while modules are imported, then only read."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def on(self, *patterns: str, name: str | None = None) -> Callable[[F], F]:
        """Register a function for events: names such as `order.completed`, `order.*`, `*`.

        The function takes the event and may be sync or async. It is returned unchanged, so it can
        be called in tests and registered again under another name.

        Args:
            patterns: of its events, at least one.
            name: keeps the deliveries of a function that is renamed or moved.

        Raises:
            ValueError: a pattern is malformed or the name is taken by another function.
            TypeError: it is not a function of one event.
        """
        if not 1 <= len(patterns) <= PATTERNS_MAX:
            message = f"on() takes 1 to {PATTERNS_MAX} event names or prefixes"
            raise ValueError(message)
        for pattern in patterns:
            _check(pattern)

        def register(function: F) -> F:
            self._add(_handler(function, patterns, name))
            return function

        return register

    def _add(self, handler: Handler) -> None:
        known = self._handlers.get(handler.name)
        if known is not None and known.function is not handler.function:
            message = f"two handlers are named {handler.name}; give one another name: on(…, name=…)"
            raise ValueError(message)
        if known is not None:
            # Two decorators on one function are combined.
            patterns = tuple(dict.fromkeys(handler.patterns + known.patterns))
            handler = Handler(
                name=handler.name,
                patterns=patterns,
                function=handler.function,
                is_async=handler.is_async,
            )
        elif len(self._handlers) >= HANDLERS_MAX:
            message = f"there are more than {HANDLERS_MAX} handlers"
            raise ValueError(message)
        self._handlers[handler.name] = handler

    def get(self, name: str) -> Handler | None:
        """The handler of that name; None when it is not loaded."""
        return self._handlers.get(name)

    def __iter__(self) -> Iterator[Handler]:
        return iter(tuple(self._handlers.values()))

    def __len__(self) -> int:
        return len(self._handlers)


def _check(pattern: object) -> None:
    if not isinstance(pattern, str):
        # `@on` without its parentheses passes the function.
        message = 'on() takes event names: @on("order.completed")'
        raise TypeError(message)
    try:
        check_pattern(pattern)
    except ValueError as error:
        message = f"on({pattern[:64]!r}): {error}"
        raise ValueError(message) from None


def _handler(function: Callable[..., Any], patterns: tuple[str, ...], name: str | None) -> Handler:
    if inspect.isclass(function):
        message = "on() registers functions, not classes"
        raise TypeError(message)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        message = f"{function.__qualname__} is a generator, which is not supported"
        raise TypeError(message)
    try:
        inspect.signature(function).bind(object())
    except TypeError:
        message = f"{_name_of(function)} must be callable with one argument, the event"
        raise TypeError(message) from None
    chosen = name or _name_of(function)
    if len(chosen) > _NAME_CHARACTERS_MAX or not chosen.isprintable():
        message = f"a handler's name has 1 to {_NAME_CHARACTERS_MAX} printable characters"
        raise ValueError(message)
    return Handler(
        name=chosen,
        patterns=tuple(dict.fromkeys(patterns)),
        function=function,
        is_async=_is_async(function),
    )


def _is_async(function: Callable[..., Any]) -> bool:
    call = type(function).__call__  # an object with a method `__call__`
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def _name_of(function: Callable[..., Any]) -> str:
    owner = function if hasattr(function, "__qualname__") else type(function)
    return f"{function.__module__}.{owner.__qualname__}"


#: The registry that `@on` fills: importing a module is what registers its handlers.
registered = HandlerRegistry()
on = registered.on
