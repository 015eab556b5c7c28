"""A synchronous standby of a PostgreSQL server, set up as the operations page describes."""

from __future__ import annotations

from tests.support.postgres import PostgresServer
from tests.support.waiting import wait_until

NAME = "standby"


class StandbyServer(PostgresServer):
    """Follows a running server from the start; `promote` makes it a primary."""

    def __init__(self, primary: PostgresServer) -> None:
        self._primary = primary
        super().__init__(primary.major)

    def _make_data(self) -> None:
        follow = f"host=127.0.0.1 port={self._primary.port} user=postgres application_name={NAME}"
        self.run_tool(
            "pg_basebackup", "-D", str(self.data), "-R", "-X", "stream", "-c", "fast", "-d", follow
        )

    def wait_synchronous(self) -> None:
        """From now on each commit of the primary waits until this server has it on disk."""
        self._primary.set("synchronous_standby_names", NAME)
        sql = "SELECT sync_state FROM pg_stat_replication"
        wait_until(
            lambda: self._primary.run_sql("postgres", sql) == [("sync",)], "commits wait for it"
        )

    def promote(self) -> None:
        """Promote it, through the server itself, as a failover would."""
        self.run_sql("postgres", "SELECT pg_promote()")
        wait_until(
            lambda: self.run_sql("postgres", "SELECT pg_is_in_recovery()") == [(False,)],
            "the standby is the primary",
        )
