"""Form and query fields: read with limits, never trusted."""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request

BODY_BYTES_MAX = 64 * 1024
FIELDS_MAX = 200
VALUE_CHARACTERS_MAX = 4096
NUMBER_DIGITS_MAX = 18


class Fields:
    """Fields of a form or a query; of a repeated one `text` takes the last."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs

    def text(self, name: str) -> str:
        """A value without surrounding blanks and without characters that cannot be stored."""
        return self.raw(name).strip().replace("\x00", "")[:VALUE_CHARACTERS_MAX]

    def exact(self, name: str) -> str:
        """A value with surrounding blanks kept (identifiers, keys); empty when only blanks."""
        value = self.raw(name).replace("\x00", "")[:VALUE_CHARACTERS_MAX]
        return value if value.strip() else ""

    def raw(self, name: str) -> str:
        """A value exactly as sent (passwords), empty when absent."""
        return next((value for key, value in reversed(self._pairs) if key == name), "")

    def all(self, name: str) -> list[str]:
        """Every value of a repeated field."""
        return [value for key, value in self._pairs if key == name]

    def number(self, name: str) -> int | None:
        """A whole number of 0 or more; None for anything else."""
        text = self.text(name)
        if not text.isascii() or not text.isdigit() or len(text) > NUMBER_DIGITS_MAX:
            return None
        return int(text)

    def one_of(self, name: str, choices: tuple[str, ...]) -> str:
        """A value that is among `choices`, else empty."""
        text = self.text(name)
        return text if text in choices else ""

    def pairs(self) -> list[tuple[str, str]]:
        """All fields, in the order sent."""
        return list(self._pairs)


def read_query(request: Request) -> Fields:
    """Fields of the query.

    Raises:
        HTTPException: 400 when it cannot be read.
    """
    return Fields(_parse(request.scope["query_string"]))


async def read_form(request: Request) -> Fields:
    """Fields of a posted form.

    Raises:
        HTTPException: 413, 415 or 400.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    if len(body) > BODY_BYTES_MAX:
        raise HTTPException(413)
    if body and kind != "application/x-www-form-urlencoded":
        raise HTTPException(415)
    return Fields(_parse(body))


def _parse(data: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            data.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=FIELDS_MAX,
        )
    except ValueError:
        raise HTTPException(400) from None
