"""Registering and loading Python handlers."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from headrace.delivery.handlers import Event, HandlerRegistry, load_handlers, on, registered
from headrace.delivery.handlers.loading import HandlersNotLoadedError
from headrace.delivery.handlers.registry import HANDLERS_MAX


@pytest.fixture
def registry() -> HandlerRegistry:
    return HandlerRegistry()


def thank(_event: Event) -> None:
    pass


def test_a_function_is_registered_under_its_own_name(registry: HandlerRegistry) -> None:
    assert registry.on("order.completed", "order.*")(thank) is thank
    (handler,) = registry
    assert handler.name == f"{__name__}.thank"
    assert handler.patterns == ("order.completed", "order.*")
    assert not handler.is_async
    assert registry.get(handler.name) is handler


def test_chosen_name_survives_a_rename(registry: HandlerRegistry) -> None:
    registry.on("*", name="thanks")(thank)
    assert [handler.name for handler in registry] == ["thanks"]


def test_async_functions_methods_and_objects_are_detected(registry: HandlerRegistry) -> None:
    class Shop:
        async def order(self, event: Event) -> None:
            pass

        async def __call__(self, event: Event) -> None:
            pass

    async def plain(_event: Event) -> None:
        pass

    shop = Shop()
    registry.on("a")(plain)
    registry.on("a")(shop.order)
    registry.on("a")(shop)
    assert len(registry) == 3
    assert all(handler.is_async for handler in registry)


def test_two_decorators_on_one_function_are_combined(registry: HandlerRegistry) -> None:
    registry.on("b.*")(registry.on("a")(thank))
    (handler,) = registry
    assert set(handler.patterns) == {"a", "b.*"}


def test_two_functions_with_one_name_are_rejected(registry: HandlerRegistry) -> None:
    registry.on("a", name="same")(thank)
    with pytest.raises(ValueError, match="two handlers are named same"):
        registry.on("a", name="same")(lambda _event: None)


@pytest.mark.parametrize("pattern", ["Order.Completed", "order*", "*.completed", "", "a..b"])
def test_invalid_pattern_is_rejected_at_the_decorator(
    registry: HandlerRegistry, pattern: str
) -> None:
    with pytest.raises(ValueError, match="on\\("):
        registry.on(pattern)


def test_invalid_handler_is_rejected(registry: HandlerRegistry) -> None:
    def generator(_event: Event) -> Iterator[None]:
        yield

    async def async_generator(_event: Event) -> AsyncIterator[None]:
        yield

    for wrong in (generator, async_generator, lambda: None, lambda _a, _b: None, Event):
        with pytest.raises(TypeError):
            registry.on("a")(wrong)
    with pytest.raises(TypeError, match="@on"):
        registry.on(thank)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="1 to"):
        registry.on()
    assert len(registry) == 0


def test_number_of_handlers_is_limited(registry: HandlerRegistry) -> None:
    for number in range(HANDLERS_MAX):
        registry.on("a", name=f"handler {number}")(thank)
    with pytest.raises(ValueError, match=str(HANDLERS_MAX)):
        registry.on("a", name="one more")(thank)


@pytest.fixture
def forget_modules() -> Iterator[None]:
    modules, path = set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - modules:
        del sys.modules[name]
    sys.path[:] = path


@pytest.mark.usefixtures("forget_modules")
def test_modules_are_loaded_from_the_given_folder(tmp_path: Path) -> None:
    (tmp_path / "shop_handlers.py").write_text(
        "from headrace.delivery.handlers import Event, on\n\n\n"
        '@on("order.completed")\nasync def thank(event: Event) -> None: ...\n'
    )
    assert load_handlers(["shop_handlers"], tmp_path) is registered
    handler = registered.get("shop_handlers.thank")
    assert handler is not None
    assert handler.is_async
    # Loading it again changes nothing.
    load_handlers(["shop_handlers"], tmp_path)


@pytest.mark.usefixtures("forget_modules")
@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "ModuleNotFoundError"),
        ("1 / 0", "ZeroDivisionError"),
        ("def broken(:", "SyntaxError"),
        ("import sys; sys.exit()", "SystemExit"),
        ("x = 1", "registers no handler"),
    ],
)
def test_a_module_that_cannot_be_used_is_named(
    tmp_path: Path, source: str | None, message: str
) -> None:
    if source is not None:
        (tmp_path / "broken_handlers.py").write_text(source)
    with pytest.raises(HandlersNotLoadedError, match=f"--handlers broken_handlers: .*{message}"):
        load_handlers(["broken_handlers"], tmp_path)


def test_the_decorator_fills_the_registry_of_the_process() -> None:
    assert on.__self__ is registered  # type: ignore[attr-defined]
