"""Fail points at which a test can make the process crash or fail.

`HEADRACE_FAIL_POINT=name:action[:n]` arms one point: at its n-th pass (default 1) the action
happens once. Actions: `kill` (like SIGKILL, nothing is flushed or closed) and `error` (an OSError
is raised). An unarmed point costs one comparison.

Points: `before_commit`, `inside_commit` (rows written, COMMIT not yet sent),
`after_commit_before_answer`; of `headrace migrate` on PostgreSQL `inside_migration`; of upkeep
`inside_move_of_keys`, and in the embedded store `inside_begin_of_part`, `before_checkpoint`,
`before_last_pages`, `inside_backfill` and `between_jobs` (of jobs that share a transaction); of
mail `message_claimed`, `message_started` (the row of an attempt is committed, nothing is sent to
the relay) and `message_recorded`; of `headrace compact`, in this order, `compact_checking`,
`compact_copying`, `compact_copied`, `compact_synced`, `compact_log_removed` and `compact_replaced`;
of `headrace backup` `backup_begun` and, also of `headrace restore`, `backup_copied`; of automations
`automation_inside_commit` and `automation_committed`.

`HEADRACE_FAIL_POINT=message_sent_again` has no action: mail that a dead worker had begun is sent
again instead of becoming `unknown`, so that a test can show that it would notice this.
"""

from __future__ import annotations

import os
import signal

_armed, _, _rest = os.environ.get("HEADRACE_FAIL_POINT", "").partition(":")
_action, _, _count = _rest.partition(":")
_left = int(_count or "1")


def armed(name: str) -> bool:
    """Whether a point is armed; for points that are costly to reach."""
    return name == _armed


def fail_point(name: str) -> None:
    """Do the action armed for `name`, if any.

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
