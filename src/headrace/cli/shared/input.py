"""Standard input of a command."""

from __future__ import annotations

import sys
from typing import IO

from headrace.cli.shared.failure import usage


def standard_input() -> IO[bytes]:
    """Standard input as bytes.

    Raises:
        CommandFailed: it is closed, as with `<&-`.
    """
    # Python has no object for it then, whatever its type says.
    if sys.stdin is None:
        raise usage("Standard input is closed.")
    return sys.stdin.buffer
