"""Named points at which a test can make the process die or fail.

`HEADRACE_FAIL_POINT=name:action[:n]` arms one point: at its n-th passing (1 when left out) the
action happens once. Actions: `kill` (as SIGKILL would, nothing is flushed or closed) and `error`
(an OSError is raised). Unarmed, a point costs one comparison.

Points: `before_commit`, `inside_commit` (rows written, COMMIT not yet said),
`after_commit_before_answer`; of mail `message_claimed`, `message_started` (the row of an attempt
is committed, nothing is said to the relay) and `message_recorded`.
"""

from __future__ import annotations

import os
import signal

_armed, _, _rest = os.environ.get("HEADRACE_FAIL_POINT", "").partition(":")
_action, _, _count = _rest.partition(":")
_left = int(_count or "1")


def armed(name: str) -> bool:
    """Whether anything is to happen at a point; for points that cost something to pass."""
    return name == _armed


def fail_point(name: str) -> None:
    """Do what was armed for `name`, if anything.

    Raises:
        OSError: when armed with `error`.
    """
    if name == _armed:
        _passed(name)


def _passed(name: str) -> None:
    global _left  # noqa: PLW0603 - one armed point per process, set from its environment
    _left -= 1
    if _left != 0:
        return
    if _action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    message = f"fail point {name}"
    raise OSError(message)
