"""How a command fails."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes."""

    DONE = 0
    #: It was tried and failed, or only part succeeded.
    FAILED = 1
    #: It was not tried: wrong arguments, settings or environment.
    USAGE = 2
    #: EX_TEMPFAIL of sysexits.h: a mail server keeps the mail and calls the command again.
    TRY_AGAIN = 75


class CommandFailed(Exception):
    """Ends the command with one line on standard error."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = code


def usage(message: str) -> CommandFailed:
    """The failure of a command that was called wrongly."""
    return CommandFailed(message, ExitCode.USAGE)
