"""Inlines the CSS of a template's style elements, which mail programs drop."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path

from headrace.delivery.mail.html_tokens import TokenKind, tokenize
from headrace.delivery.mail.liquid_guard import ProtectedMarks

_PROCESS = Path(__file__).with_name("css_process.py")
#: From the start of the process to its last byte.
DEADLINE_S = 10.0
#: For a killed process to end.
_KILLED_S = 2.0
#: The tool's time grows with the square of how deeply they nest.
ELEMENTS_MAX = 10_000
#: Of the result; more is too large for a mail.
HTML_BYTES_MAX = 1024 * 1024


class CssError(Exception):
    """CSS was not inlined; the message completes a sentence for the author."""


async def inline_css(source: str) -> str:
    """Inline the CSS of HTML that may contain Liquid, which is not changed.

    HTML without a style element is returned unchanged.

    Raises:
        CssError: keep the HTML as authored.
        MarkError: the text cannot be a template.
    """
    protected = ProtectedMarks(source)
    tokens = [one for one in tokenize(protected.html) if one.kind is TokenKind.START]
    if not any(one.name == "style" for one in tokens):
        return source
    if not protected.possible:
        raise CssError("the text contains words that are used as placeholders here")
    if len(tokens) > ELEMENTS_MAX:
        message = f"the HTML has more than {ELEMENTS_MAX} elements"
        raise CssError(message)
    if protected.splits_attributes:
        raise CssError("Liquid is between attributes or inside a style attribute")
    inlined = protected.restore(await _run(protected.html))
    if inlined is None:
        raise CssError("a Liquid mark is where HTML allows none")
    return inlined


async def _run(html: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        str(_PROCESS),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            written, _ = await process.communicate(html.encode())
    except TimeoutError:
        raise CssError("it takes too long") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            # A killed process ends at once, unless the system itself is stuck.
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _KILLED_S)
    if process.returncode != 0:
        raise CssError("the HTML nests too deeply or needs too much memory")
    if len(written) > HTML_BYTES_MAX:
        raise CssError(f"the HTML would have more than {HTML_BYTES_MAX} bytes")
    return written.decode()
