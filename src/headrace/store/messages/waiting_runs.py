"""Runs of automations that wait for a message."""

from __future__ import annotations

from headrace.domain.messages.kinds import MessageStatus
from headrace.domain.messages.places import lane_of_uuid
from headrace.store.contract.automations import PARKED_US
from headrace.store.contract.messages import Message
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Transaction

# A held run (`PARKED_US`) looks when it is resumed, one whose last input failed at its retry. The
# runner that looks at the run at the same time holds its row: then this waits, and the time that
# the runner has set is replaced. A runner that cancels a message which is just being settled waits
# in turn for the message; PostgreSQL ends one of the two transactions, which is repeated.
WAKE_RUN = sql(
    "UPDATE automation_runs SET due_us = $3 WHERE lane = $1 AND id = $2 AND at_step = $4 "
    f"AND status = 'waiting' AND attempt = 0 AND due_us > $3 AND due_us < {PARKED_US}"
)


async def wake_run(tx: Transaction, message: Message, state: MessageStatus, now_us: int) -> None:
    """Let the run that waits for a message look at it now, since nothing more is done with it.

    Called in the transaction that gives the message its state.
    """
    if message.run_id is None or message.step_key is None or not state.final:
        return
    lane = lane_of_uuid(message.run_id)
    await tx.run(WAKE_RUN, lane, message.run_id, now_us, message.step_key)
