"""Replaces Liquid marks in HTML while tools that know only HTML process it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from headrace.delivery.mail.html_tokens import Token, TokenKind, tokenize

#: Characters of one mark, and of white space in a row within one. The parser's patterns take
#: quadratic time in both, so longer ones are rejected first.
MARK_CHARACTERS_MAX = 2000
BLANKS_MAX = 100

_OPENING = re.compile(r"\{[{%]")
_VERBATIM = re.compile(r"\{%-?\s*+(raw|doc)\s*+-?%\}")
_VERBATIM_ENDS = {name: re.compile(rf"\{{%-?\s*+end{name}\s*+-?%\}}") for name in ("raw", "doc")}
_BLANKS = re.compile(rf"\s{{{BLANKS_MAX + 1}}}")
_WORD = re.compile(r"lqd([0-9]+)x")
_PLACEHOLDER = re.compile(r"(?:<!--)?lqd([0-9]+)x(?:-->)?(?:=\"\")?", re.IGNORECASE)


class MarkError(ValueError):
    """An unterminated or too long mark; the message is a sentence for the author."""


def find_marks(source: str) -> Iterator[tuple[int, int]]:
    """Where each mark begins and ends, in linear time.

    The content of `raw` and `doc` belongs to their mark.

    Raises:
        MarkError: the text cannot be a template.
    """
    at = 0
    while (opening := _OPENING.search(source, at)) is not None:
        start = opening.start()
        closing = "}}" if source[start + 1] == "{" else "%}"
        end = source.find(closing, start + 2) + 2
        if end < 2:
            message = f"{_line(source, start)}: {source[start : start + 2]} has no {closing}"
            raise MarkError(message)
        if end - start > MARK_CHARACTERS_MAX or _BLANKS.search(source, start, end):
            message = (
                f"{_line(source, start)}: a mark has more than {MARK_CHARACTERS_MAX} characters, "
                f"or more than {BLANKS_MAX} blanks in a row"
            )
            raise MarkError(message)
        verbatim = _VERBATIM.fullmatch(source, start, end)
        if verbatim is not None:
            close = _VERBATIM_ENDS[verbatim[1]].search(source, end)
            if close is None:
                raise MarkError(f"{_line(source, start)}: {verbatim[1]} has no end{verbatim[1]}")
            end = close.end()
        yield start, end
        at = end


def _line(source: str, at: int) -> str:
    return f"line {source.count(chr(10), 0, at) + 1}"


class ProtectedMarks:
    """HTML with a placeholder for each Liquid mark.

    Between elements the placeholder is a comment, so that a parser does not move a mark between the
    rows of a table; inside tags, styles and titles it is a plain word.

    Raises:
        MarkError: the text cannot be a template.
    """

    def __init__(self, source: str) -> None:
        # A text that already has such words could not be restored.
        self.possible = _PLACEHOLDER.search(source) is None
        self._marks: list[str] = []
        self._in_styles: set[int] = set()
        #: Whether marks are between attributes, or tags inside a style: their order matters, and a
        #: tool that rewrites attributes does not keep it.
        self.splits_attributes = False
        #: With words everywhere, for tools that drop comments.
        self.words = self._words(source)
        self.html = "".join(self._as_comments(self.words))

    def restore(self, text: str, *, complete: bool = True) -> str | None:
        """Restore the marks; None when one was duplicated or, if `complete`, lost."""
        seen: list[int] = []

        def mark(match: re.Match[str]) -> str:
            number = int(match[1])
            if number >= len(self._marks):
                return match[0]
            seen.append(number)
            return self._marks[number]

        restored = _PLACEHOLDER.sub(mark, text)
        doubled = {number for number, times in Counter(seen).items() if times > 1}
        lost = complete and len(set(seen)) < len(self._marks)
        # A value in a style is copied to every element that the style matches.
        if lost or not doubled <= self._in_styles:
            return None
        return None if any(self._marks[one].startswith("{%") for one in doubled) else restored

    def _words(self, source: str) -> str:
        pieces: list[str] = []
        at = 0
        for start, end in find_marks(source):
            pieces += (source[at:start], f"lqd{len(self._marks)}x")
            self._marks.append(source[start:end])
            at = end
        return "".join((*pieces, source[at:]))

    def _as_comments(self, words: str) -> list[str]:
        pieces: list[str] = []
        for token in tokenize(words):
            piece = words[token.start : token.end]
            if token.kind is TokenKind.TEXT:
                piece = _WORD.sub(r"<!--\g<0>-->", piece)
            elif token.kind is TokenKind.START:
                self._look_inside(words, token)
            elif token.kind is TokenKind.RAW and token.name == "style":
                self._in_styles.update(int(match[1]) for match in _WORD.finditer(piece))
            pieces.append(piece)
        return pieces

    def _look_inside(self, words: str, token: Token) -> None:
        at = token.start
        for attribute in token.attributes:
            value = words[attribute.start : attribute.end]
            tags = any(self._is_tag(match) for match in _WORD.finditer(value))
            self.splits_attributes |= tags and attribute.name == "style"
            self.splits_attributes |= _WORD.search(words, at, attribute.start) is not None
            at = attribute.end
        self.splits_attributes |= _WORD.search(words, at, token.end) is not None

    def _is_tag(self, match: re.Match[str]) -> bool:
        number = int(match[1])
        return number < len(self._marks) and self._marks[number].startswith("{%")
