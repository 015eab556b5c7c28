"""How a command ends when it cannot do what it was asked."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the shell is told."""

    DONE = 0
    #: It was tried and did not work, or only in part.
    FAILED = 1
    #: It was not tried: wrong arguments, settings or surroundings.
    USAGE = 2


class CommandFailed(Exception):
    """Ends the command with one line on standard error."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = code


def usage(message: str) -> CommandFailed:
    """The command was called wrongly."""
    return CommandFailed(message, ExitCode.USAGE)
