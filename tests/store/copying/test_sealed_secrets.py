"""Secrets stay sealed in a copy: it takes the key of the source to read them, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.store.contract.errors import StoreSetupError
from headrace.stores import open_store
from tests.support.places import PostgresPlace, SqlitePlace
from tests.support.server import headrace

DOMAIN = "shop.example"


@pytest.fixture
def target(tmp_path: Path) -> Iterator[PostgresPlace]:
    place = PostgresPlace(tmp_path)
    yield place
    place.remove()


async def made_by_a_server(url: str) -> None:
    await (await open_store(url, serve=True)).close()


def dkim_key(url: str, secret_key: str = "") -> str:
    async def read() -> str:
        store = await open_store(url, serve=False, create=False, secret_key=secret_key)
        try:
            project, *_ = await store.projects.list()
            domain = await store.messages.domains.by_name(project.id, DOMAIN)
            assert domain is not None
            return store.messages.domains.private_key(domain)
        finally:
            await store.close()

    return asyncio.run(read())


def test_copied_secrets_open_with_the_key_of_the_source(
    tmp_path: Path, target: PostgresPlace
) -> None:
    source = SqlitePlace(tmp_path)
    asyncio.run(made_by_a_server(source.url))
    assert headrace("project", "create", "shop", f"--store={source.url}").returncode == 0
    made = headrace(
        "domain", "create", DOMAIN, "--verified", "--project=shop", f"--store={source.url}"
    )
    assert made.returncode == 0, made.stderr
    private_key = dkim_key(source.url)
    key_file = source.path.with_name("headrace.db.key")
    assert key_file.exists()

    done = headrace("copy", "--from", source.url, "--to", target.url)

    assert done.returncode == 0, done.stderr
    assert f"HEADRACE_SECRET_KEY_FILE={key_file}" in done.stdout.replace("\n", "")
    [(sealed,)] = target.run_sql("SELECT dkim_key FROM domains")
    assert "PRIVATE KEY" not in str(sealed)
    assert dkim_key(target.url, key_file.read_text()) == private_key
    with pytest.raises(StoreSetupError, match="not present here"):
        dkim_key(target.url)
