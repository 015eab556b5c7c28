"""What an automation tells its open runs: to stand still, or what to do when they are overdue."""

from __future__ import annotations

import msgspec

from headrace.store.contract.automations import PARKED_US, Overdue
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Transaction

_CONTROL = sql(
    "SELECT status = 'paused' AND pause_mode = 'hold', overdue, overdue_before_us "
    "FROM automations WHERE id = $1"
)
PARK = sql(
    f"UPDATE automation_runs SET due_us = due_us + {PARKED_US} "
    f"WHERE lane = $1 AND id = $2 AND due_us < {PARKED_US}"
)
UNPARK = sql(
    f"UPDATE automation_runs SET due_us = due_us - {PARKED_US} WHERE (lane, id) IN "
    f"(SELECT lane, id FROM automation_runs WHERE automation_id = $1 AND due_us >= {PARKED_US} "
    f"ORDER BY due_us LIMIT $2) AND due_us >= {PARKED_US}"
)
#: Automations whose runs the runner still has to cancel or to let go on.
TASKS = sql(
    "SELECT id, project_id, task FROM automations WHERE task IS NOT NULL ORDER BY id LIMIT $1"
)
TASK_DONE = sql("UPDATE automations SET task = NULL WHERE id = $1 AND task = $2")
OPEN_RUNS_OF = sql(
    "SELECT id FROM automation_runs WHERE automation_id = $1 AND due_us IS NOT NULL LIMIT $2"
)


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator wants of the open runs of an automation."""

    #: Runs that become due stand still.
    held: bool = False
    #: For runs that were due before `overdue_before_us`; None: they run.
    overdue: Overdue | None = None
    overdue_before_us: int = 0

    @property
    def skip_sends_before_us(self) -> int | None:
        """Sends that a run reaches before this time of its own are skipped; None: none."""
        return self.overdue_before_us if self.overdue is Overdue.SKIP_SENDS else None

    def cancels(self, due_us: int) -> bool:
        """Whether a run that was due then is cancelled."""
        return self.overdue is Overdue.CANCEL and due_us < self.overdue_before_us


async def read_control(tx: Transaction, automation_id: str) -> Control:
    """The control of an automation."""
    row = await tx.row(_CONTROL, automation_id)
    if row is None:
        return Control()
    held, overdue, before_us = row
    return Control(
        held=bool(held),
        overdue=None if overdue is None else Overdue(overdue),
        overdue_before_us=before_us or 0,
    )
