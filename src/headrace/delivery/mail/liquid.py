"""Liquid with limits: runs foreign templates in this process.

A template can only read its values and write text. Its cost is counted, not timed, so the same
template ends the same way on every machine.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from io import StringIO
from typing import Any

from liquid import BoundTemplate, Environment, Mode, Node, RenderContext
from liquid.builtin.expressions import FilteredExpression, Path
from liquid.exceptions import LiquidError, ResourceLimitError, UndefinedError
from liquid.token import Token
from liquid.undefined import FalsyStrictUndefined

from headrace.delivery.mail.liquid_guard import MarkError, find_marks

#: UTF-8 bytes of a source and of its output.
SOURCE_BYTES_MAX = 512 * 1024
OUTPUT_BYTES_MAX = 1024 * 1024
#: Nodes of a template that are run, counted again in each loop iteration.
STEPS_MAX = 100_000
#: Characters of input and output of filters, together.
FILTERED_CHARACTERS_MAX = 8 * 1024 * 1024
#: Characters or items of one value.
VALUE_SIZE_MAX = 256 * 1024
NUMBER_BITS_MAX = 256
_DATE_CHARACTERS_MAX = 64

#: Tags that load other templates, of which there are none.
_NO_TAGS = ("include", "render")
#: `safe` would allow markup in a value.
_NO_FILTERS = ("safe", "escapejs")


_CONDITIONS = frozenset({"IfNode", "UnlessNode", "CaseNode", "ConditionalBlockNode"})
#: Only tags that load other templates use it.
_NO_PARTIALS: Any = None


class TemplateError(Exception):
    """A template that cannot be parsed or run; the message is a sentence for its author."""


class MissingVariableError(TemplateError):
    """A value that the template writes is missing and has no default.

    Attributes:
        name: the variable as in the template, such as `contact.properties.plan`.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"the variable {name} has no value and no default")
        self.name = name


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template."""

    bound: BoundTemplate

    @property
    def variables(self) -> tuple[str, ...]:
        """Every variable that is read, with dots, sorted."""
        found = self.bound.analyze().globals
        return tuple(sorted({str(one) for ones in found.values() for one in ones}))

    @property
    def required(self) -> tuple[str, ...]:
        """Variables that are written without a default and outside a condition on them."""
        found: set[str] = set()
        _required(self.bound.nodes, frozenset(), found)
        local = set(self.bound.analyze().locals)
        return tuple(sorted(name for name in found if name.split(".")[0] not in local))


@lru_cache(maxsize=128)
def parse(source: str, *, is_html: bool) -> Template:
    """Parse a template.

    Args:
        source: Liquid.
        is_html: whether values are escaped for HTML.

    Raises:
        TemplateError: with the line and what is wrong.
    """
    if len(source.encode()) > SOURCE_BYTES_MAX:
        raise TemplateError(f"the template is larger than {SOURCE_BYTES_MAX} bytes")
    try:
        for _ in find_marks(source):
            # The parser takes quadratic time for unterminated marks.
            pass
        return Template(_environment(is_html=is_html).from_string(source))
    except MarkError as error:
        raise TemplateError(str(error)) from None
    except LiquidError as error:
        raise TemplateError(_sentence(error)) from None
    except RecursionError:
        raise TemplateError("the template nests too deeply") from None


def render(template: Template, values: Mapping[str, Any], now_us: int = 0) -> str:
    """Render a template with values.

    Args:
        template: parsed.
        values: plain JSON: objects, lists, strings, numbers, booleans, None.
        now_us: `now` for the filter `date`, microseconds since 1970.

    Raises:
        MissingVariableError: a value is missing.
        TemplateError: a limit is reached, or a filter rejects its value.
    """
    budget = _Budget(now_us)
    context = _Context(template.bound, globals=dict(values))
    context.budget = budget
    buffer = _Buffer()
    try:
        template.bound.render_with_context(context, buffer)
    except UndefinedError as error:
        raise MissingVariableError(str(error.args[0])) from None
    except LiquidError as error:
        raise TemplateError(_sentence(error)) from None
    except RecursionError:
        raise TemplateError("the template nests too deeply") from None
    except (ArithmeticError, AttributeError, TypeError, ValueError, LookupError) as error:
        raise TemplateError(f"a filter cannot take its value: {type(error).__name__}") from None
    return buffer.getvalue()


class _Undefined(FalsyStrictUndefined):
    """False in conditions, empty in loops, an error when written; `name` is the path."""

    force_liquid_default = True
    allowed_properties = FalsyStrictUndefined.allowed_properties | {"items"}

    def items(self) -> Any:
        """Nothing to loop over."""
        return ()

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __contains__(self, item: object) -> bool:
        return False

    def __hash__(self) -> int:
        return 0


class _Budget:
    """The remaining budget of one run."""

    def __init__(self, now_us: int) -> None:
        self._steps = STEPS_MAX
        self._characters = FILTERED_CHARACTERS_MAX
        self.now = dt.datetime.fromtimestamp(now_us / 1_000_000, dt.UTC)

    def step(self) -> None:
        self._steps -= 1
        if self._steps < 0:
            raise ResourceLimitError(f"more than {STEPS_MAX} steps", token=None)

    def size(self, value: object) -> None:
        size = _size(value)
        if size > VALUE_SIZE_MAX:
            raise ResourceLimitError(f"a value is larger than {VALUE_SIZE_MAX}", token=None)
        self._characters -= size
        if self._characters < 0:
            raise ResourceLimitError(
                f"filters handle more than {FILTERED_CHARACTERS_MAX} characters", token=None
            )


def _size(value: object) -> int:
    if isinstance(value, str | list | tuple | dict | range):
        return len(value)
    if isinstance(value, int):
        # Multiplying numbers of so many bits gives one of twice as many.
        return 1 if value.bit_length() <= NUMBER_BITS_MAX else VALUE_SIZE_MAX + 1
    if isinstance(value, Decimal):
        return 1 if len(value.as_tuple().digits) <= NUMBER_BITS_MAX else VALUE_SIZE_MAX + 1
    return 1


class _Context(RenderContext):
    """Counts every node that is run and every value that a filter handles."""

    budget: _Budget

    @property
    def disabled_tags(self) -> list[str]:
        # Each node of a template reads this before it is run, so all of them are counted here.
        budget = getattr(self, "budget", None)
        if budget is not None:
            budget.step()
        return []

    @disabled_tags.setter
    def disabled_tags(self, _: list[str]) -> None:
        pass

    def get(self, path: list[object], *, token: Token | None, default: object = None) -> object:
        self.budget.step()
        found = super().get(path, token=token, default=None)
        # A null value counts as absent.
        if found is None and default is None:
            name = ".".join(str(part) for part in path)
            return _Undefined(name, hint=name, token=token)
        return default if found is None else found

    def filter(self, name: str, token: Token | None) -> Callable[..., object]:
        plain = super().filter(name, token)
        budget = self.budget

        def counted(value: object, *arguments: Any, **named: Any) -> object:
            budget.step()
            for one in (value, *arguments, *named.values()):
                budget.size(one)
            _check_growth(name, value, arguments)
            if name == "date" and value in {"now", "today"}:
                value = budget.now
            result = plain(value, *arguments, **named)
            budget.size(result)
            return result

        return counted


def _check_growth(name: str, value: object, arguments: Sequence[object]) -> None:
    """Reject filters whose result is out of proportion to their input."""
    if name == "date":
        texts = [one for one in (value, *arguments) if isinstance(one, str)]
        if any(len(one) > _DATE_CHARACTERS_MAX for one in texts):
            raise ResourceLimitError("a date or its format is too long", token=None)
        return
    size = 0
    if name == "replace" and arguments:
        text, searched = str(value), str(arguments[0])
        by = str(arguments[1]) if len(arguments) > 1 else ""
        size = (text.count(searched) if searched else len(text) + 1) * len(by)
    elif name == "join" and isinstance(value, list | tuple):
        size = len(value) * len(str(arguments[0]) if arguments else " ")
        size += sum(len(one) if isinstance(one, str) else 32 for one in value)
    elif name in {"sort", "sort_natural", "uniq", "sum", "compact", "map", "where", "reject"}:
        # These compare or copy items, some each with each.
        items = len(value) if isinstance(value, list | tuple | str) else 1
        size = items * items if name == "uniq" else items
    if size > VALUE_SIZE_MAX:
        raise ResourceLimitError(f"{name}: a value is larger than {VALUE_SIZE_MAX}", token=None)


class _Buffer(StringIO):
    """Text with a limit."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes = 0

    def write(self, text: str, /) -> int:
        # Counted in UTF-8 bytes only when it could exceed the limit.
        self._bytes += len(text) if text.isascii() else len(text.encode(errors="replace"))
        if self._bytes > OUTPUT_BYTES_MAX:
            raise ResourceLimitError(f"more than {OUTPUT_BYTES_MAX} bytes", token=None)
        return super().write(text)


class _Environment(Environment):
    block_nesting_limit = 20
    context_depth_limit = 20
    #: Items of one loop; the total of all loops is limited by steps.
    loop_iteration_limit = 10_000
    output_stream_limit = OUTPUT_BYTES_MAX
    suppress_blank_control_flow_blocks = False


@lru_cache(maxsize=2)
def _environment(*, is_html: bool) -> Environment:
    environment = _Environment(
        autoescape=is_html, tolerance=Mode.STRICT, strict_filters=True, undefined=_Undefined
    )
    for name in _NO_TAGS:
        del environment.tags[name]
    for name in _NO_FILTERS:
        environment.filters.pop(name, None)
    return environment


def _required(nodes: Iterable[Node], known: frozenset[str], found: set[str]) -> None:
    for node in nodes:
        # Names that the node defines, such as the item of a loop, and those in its condition.
        inner = known | {str(name) for name in node.block_scope()}
        if node.__class__.__name__ in _CONDITIONS:
            inner |= set(_asked(node))
        for expression in node.expressions():
            name = _written(expression)
            if name is not None and name not in known and name.split(".")[0] not in known:
                found.add(name)
        _required(node.children(_NO_PARTIALS), inner, found)


def _asked(node: Node) -> Iterator[str]:
    """Variables in the conditions of a node; those of an `if` are in its first block."""
    for one in (node, *node.children(_NO_PARTIALS)):
        if one.__class__.__name__ in _CONDITIONS:
            for expression in one.expressions():
                yield from _paths(expression)


def _written(expression: object) -> str | None:
    if not isinstance(expression, FilteredExpression) or not isinstance(expression.left, Path):
        return None
    filters = expression.filters or []
    if any(one.name == "default" for one in filters):
        return None
    return _dotted(expression.left)


def _paths(expression: Any) -> Iterable[str]:
    if isinstance(expression, Path):
        yield _dotted(expression)
    for child in expression.children():
        yield from _paths(child)


def _dotted(path: Path) -> str:
    return ".".join(str(part) for part in path.path)


def _sentence(error: LiquidError) -> str:
    text = " ".join(str(error.args[0] if error.args else error).split())
    shown = text.encode("ascii", "backslashreplace").decode()[:200]
    token = error.token
    if token is None or not getattr(token, "source", None):
        return shown
    line = token.source.count("\n", 0, token.start_index) + 1
    return f"line {line}: {shown}"
