"""What sharding over a cluster by `lane` requires of the schema, read from the catalogs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from headrace.store.contract.errors import StoreSetupError
from headrace.store.engine.postgres.database import Database, PoolOptions
from headrace.store.engine.postgres.shard import TRAFFIC_TABLES, distribute
from tests.support.places import PostgresPlace

#: Small tables, which stay on one node: everything whose rows are made by hand, one a project or
#: one a process, or that is bounded a project. A table that grows with traffic is not one of them.
SMALL = {
    "alert_notices",
    "alerts",
    "api_key_uses",
    "api_keys",
    "audiences",
    "audit",
    "automation_starts",
    "automation_versions",
    "automations",
    "captured_mails",
    "domain_checks",
    "domains",
    "dropped_ranges",
    "erased_contacts",
    "erasures",
    "lanes",
    "leader_leases",
    "mail_notifications",
    "members",
    "merges",
    "meta",
    "operators",
    "policies",
    "projects",
    "push_apps",
    "push_jobs",
    "rejections",
    "relay_failures",
    "replays",
    "schema_migrations",
    "secrets",
    "send_counts",
    "send_jobs",
    "sessions",
    "sign_in_attempts",
    "sign_in_links",
    "size_samples",
    "subscribers",
    "template_versions",
    "templates",
    "topics",
    "warm_ups",
    "workers",
}
#: Of mail: a row for each bad address, each target of a link, and each receiving domain (and day).
#: They grow far more slowly than events, and are looked up by keys without a lane.
SLOWLY_GROWING = {"links", "mail_figures", "receiver_breakers", "soft_bounces", "suppressions"}
_TABLES = (
    "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition "
    "AND relnamespace = 'public'::regnamespace"
)
_LANES = (
    "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
    "WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attname = 'lane' "
    "AND c.relnamespace = 'public'::regnamespace"
)
#: Unique indexes with the names of their columns in order.
_UNIQUE = (
    "SELECT c.relname, i.indexrelid::regclass::text, array_agg(a.attname::text ORDER BY k.place) "
    "FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid "
    "CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (number, place) "
    "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number "
    "WHERE i.indisunique AND c.relnamespace = 'public'::regnamespace GROUP BY 1, 2"
)
_FOREIGN_KEYS = (
    "SELECT conrelid::regclass::text, confrelid::regclass::text FROM pg_constraint "
    "WHERE contype = 'f'"
)
_TRIGGERS = "SELECT tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresPlace]:
    made = PostgresPlace(Path(tmp_path_factory.mktemp("place")))
    yield made
    made.remove()


@pytest.fixture(scope="module")
def traffic(place: PostgresPlace) -> set[str]:
    """The tables that would be sharded."""
    return names(place.run_sql(TRAFFIC_TABLES))


def names(rows: Sequence[tuple[str, ...]]) -> set[str]:
    return {row[0] for row in rows}


def test_every_table_is_sharded_or_known_to_be_small(
    place: PostgresPlace, traffic: set[str]
) -> None:
    assert traffic | SMALL | SLOWLY_GROWING == names(place.run_sql(_TABLES))
    assert not traffic & (SMALL | SLOWLY_GROWING)
    assert names(place.run_sql(_LANES)) - {"lanes"} == traffic


def test_every_unique_key_of_a_sharded_table_begins_with_the_lane(
    place: PostgresPlace, traffic: set[str]
) -> None:
    keys = [(table, key, cols) for table, key, cols in place.run_sql(_UNIQUE) if table in traffic]
    assert {table for table, _, _ in keys} == traffic
    assert [key for _, key, cols in keys if cols[0] != "lane"] == []


def test_no_sharded_table_has_a_foreign_key_or_a_trigger(
    place: PostgresPlace, traffic: set[str]
) -> None:
    assert [row for row in place.run_sql(_FOREIGN_KEYS) if traffic & set(row)] == []
    assert not traffic & names(place.run_sql(_TRIGGERS))


def test_events_are_sharded_first(place: PostgresPlace) -> None:
    """The others are colocated with them, so rows of one lane are on one node."""
    assert place.run_sql(TRAFFIC_TABLES)[0] == ("events",)


def test_without_the_extension_it_is_rejected(place: PostgresPlace) -> None:
    async def shard() -> None:
        connection = await Database(place.url, PoolOptions()).dedicated_connection()
        try:
            await distribute(connection)
        finally:
            await connection.close()

    with pytest.raises(StoreSetupError, match="CREATE EXTENSION citus"):
        asyncio.run(shard())
