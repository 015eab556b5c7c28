"""Commands run in the process of the tests, for tests of what they do rather than of the process.

Starting an interpreter for each of many commands takes most of the time of such a test. A file that
uses this keeps a test with a real process.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from unittest.mock import patch

from headrace.cli.application import run
from tests.support.server import clean_environment


def headrace_here(*arguments: str) -> subprocess.CompletedProcess[str]:
    """As `tests.support.server.headrace`, without a process of its own."""
    out, err = io.StringIO(), io.StringIO()
    code: int | str | None = 0
    with (
        patch.object(sys, "argv", ["headrace", *arguments]),
        patch.dict("os.environ", clean_environment(), clear=True),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            run()
        except SystemExit as end:
            code = end.code
    assert code is None or isinstance(code, int)
    return subprocess.CompletedProcess(arguments, code or 0, out.getvalue(), err.getvalue())
