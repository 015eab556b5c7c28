"""Secrets are sealed in the store, and every process says which key it lacks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from headrace.config import load_settings
from headrace.domain.access.sealing import Purpose, key_id_of, parse_keys
from headrace.domain.ids import new_uuid, uuid_text
from headrace.domain.push.app_requests import PushAppFields
from headrace.store.access.sealing import Replaced, SecretKeyError, sealed_secrets
from headrace.store.contract.deliveries import NewWebhook
from headrace.store.contract.errors import StoreSetupError
from headrace.store.store import Store
from headrace.stores import key_file, open_store, replace_lost_secrets, rotate_secret_key
from tests.support.places import Place

T = TypeVar("T")
OLD, NEW = "old-" * 10, "new-" * 10
SECRET, PRIVATE = "whsec_c2VjcmV0", "-----BEGIN PRIVATE KEY-----"
HEADERS = '["Bearer own"]'
VAPID = "-----BEGIN PRIVATE KEY----- of an app"


def key_id(text: str) -> str:
    return parse_keys(text)[0].id


def in_store(place: Place, work: Callable[[Store], Awaitable[T]], key: str = "") -> T:
    """Run work as a process with this setting does."""

    async def run() -> T:
        store = await open_store(place.url, serve=False, secret_key=key)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


async def add_secrets(store: Store) -> str:
    """A project with a webhook with own headers, twice rotated, and a domain; returns its id."""
    project = await store.projects.create("shop", 1, actor="test")
    webhook = NewWebhook(
        id=uuid_text(new_uuid()),
        project_id=project.id,
        url="https://example.org/hook",
        events=("*",),
        description="",
        enabled=True,
        secret=f"{SECRET}0",
        headers=(("Authorization", "Bearer own"),),
    )
    await store.subscribers.create(webhook, actor="test")
    await store.subscribers.rotate_secret(project.id, webhook.id, SECRET, actor="test")
    await store.messages.domains.create(
        project.id, "example.org", 1, dkim=("hr", PRIVATE), actor="test"
    )
    await store.push.apps.create(
        project.id, PushAppFields(name="Shop"), 1, vapid=("point", VAPID), actor="test"
    )
    return webhook.id


async def secrets_of(store: Store) -> list[str]:
    (project,) = await store.projects.list()
    (webhook,) = await store.subscribers.list(project.id, before=None, limit=9)
    domain = await store.messages.domains.by_name(project.id, "example.org")
    assert domain is not None
    opened = [store.secret_keys.open(each, Purpose.WEBHOOK) for each in webhook.secrets]
    if webhook.header_values is not None:
        opened.append(store.secret_keys.open(webhook.header_values, Purpose.WEBHOOK))
    app = await store.push.apps.by_name(project.id, "Shop")
    assert app is not None
    private = store.messages.domains.private_key(domain)
    return [*opened, private, store.push.apps.private_key(app)]


def stored(place: Place) -> list[str]:
    rows = place.run_sql("SELECT secret, previous_secret, header_values FROM subscribers")
    return [text for row in rows for text in row] + [
        row[0]
        for row in place.run_sql(
            "SELECT dkim_key FROM domains UNION ALL SELECT vapid_private_key FROM push_apps"
        )
    ]


EXPECTED = [SECRET, f"{SECRET}0", HEADERS, PRIVATE, VAPID]


def test_secrets_are_sealed_when_they_are_stored(place: Place) -> None:
    in_store(place, add_secrets, NEW)

    assert [key_id_of(text) for text in stored(place)] == [key_id(NEW)] * 5
    assert in_store(place, secrets_of, NEW) == EXPECTED


def test_what_was_stored_in_plain_is_sealed_at_the_next_start(place: Place) -> None:
    asyncio.run(_add_plain(place))
    assert stored(place) == EXPECTED
    assert in_store(place, secrets_of, NEW) == EXPECTED
    assert [key_id_of(text) for text in stored(place)] == [key_id(NEW)] * 5


async def _add_plain(place: Place) -> None:
    # The way of the tests to open a store passes no key.
    store = await place.open()
    await add_secrets(store)
    await store.close()


@pytest.mark.parametrize("key", ["", OLD])
def test_a_process_without_the_key_does_not_start(place: Place, key: str) -> None:
    in_store(place, add_secrets, NEW)
    before = stored(place)
    file = key_file(place.url)
    assert file is None

    with pytest.raises(StoreSetupError, match=f"sealed with key {key_id(NEW)}") as raised:
        in_store(place, secrets_of, key)
    assert "HEADRACE_SECRET_KEY" in str(raised.value)
    assert NEW not in str(raised.value)
    assert stored(place) == before


def test_the_setting_is_checked(place: Place) -> None:
    with pytest.raises(StoreSetupError, match="HEADRACE_SECRET_KEY must be") as raised:
        in_store(place, add_secrets, "too short")
    assert "too short" not in str(raised.value)


def test_a_new_key_in_front_of_the_old_one_takes_over(place: Place) -> None:
    in_store(place, add_secrets, OLD)
    both = f"{NEW},{OLD}"
    # Nothing is sealed again before all processes have both.
    assert in_store(place, secrets_of, both) == EXPECTED
    assert [key_id_of(text) for text in stored(place)] == [key_id(OLD)] * 5

    assert rotated(place, both) == (key_id(NEW), 5)
    assert in_store(place, secrets_of, NEW) == EXPECTED
    assert rotated(place, NEW) == (key_id(NEW), 0)


def rotated(place: Place, key: str) -> tuple[str, int]:
    flags: dict[str, Any] = {"store": place.url, "secret_key": key}
    return asyncio.run(rotate_secret_key(load_settings(flags, {})))


def test_a_running_process_reads_a_rotated_key_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'headrace.db'}"

    async def with_rotation() -> list[str]:
        store = await open_store(url, serve=True)
        await add_secrets(store)
        settings = load_settings({"store": url}, {})
        await asyncio.to_thread(lambda: asyncio.run(rotate_secret_key(settings)))
        try:
            return await secrets_of(store)
        finally:
            await store.close()

    assert asyncio.run(with_rotation()) == EXPECTED


def test_counts_tell_plain_from_sealed(place: Place) -> None:
    asyncio.run(_add_plain(place))

    async def counted(store: Store) -> tuple[dict[str, int], int]:
        found = await sealed_secrets(store.database)
        return found.by_key, found.plain

    async def plain(place: Place) -> tuple[dict[str, int], int]:
        store = await place.open()
        found = await counted(store)
        await store.close()
        return found

    assert asyncio.run(plain(place)) == ({}, 5)
    assert in_store(place, counted, NEW) == ({key_id(NEW): 5}, 0)


def test_an_altered_key_of_a_domain_is_an_error_of_the_store(place: Place) -> None:
    in_store(place, add_secrets, NEW)
    text = f"sealed:{key_id(NEW)}:AAAA"
    place.run_sql("UPDATE domains SET dkim_key = ?", text)
    with pytest.raises(SecretKeyError, match="altered"):
        in_store(place, secrets_of, NEW)


def test_the_key_file_of_an_embedded_store(tmp_path: Path) -> None:
    path = tmp_path / "headrace.db"
    url = f"sqlite:///{path}"

    async def opened(*, serve: bool) -> tuple[str, ...]:
        store = await open_store(url, serve=serve)
        ids = store.secret_keys.ids
        await store.close()
        return ids

    (first,) = asyncio.run(opened(serve=True))
    file = tmp_path / "headrace.db.key"
    assert key_file(url) == file
    assert file.stat().st_mode & 0o777 == 0o600
    assert asyncio.run(opened(serve=False)) == (first,)

    settings = load_settings({"store": url}, {})
    second, _ = asyncio.run(rotate_secret_key(settings))
    assert asyncio.run(opened(serve=True)) == (second, first)
    assert file.stat().st_mode & 0o777 == 0o600

    file.write_text("not a key")
    with pytest.raises(StoreSetupError, match=r"headrace\.db\.key cannot be used"):
        asyncio.run(opened(serve=True))


def test_a_lost_key_file_is_not_replaced(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'headrace.db'}"

    async def used(*, add: bool) -> None:
        store = await open_store(url, serve=True)
        if add:
            await add_secrets(store)
        await store.close()

    asyncio.run(used(add=True))
    (tmp_path / "headrace.db.key").unlink()
    with pytest.raises(StoreSetupError, match=r"Bring back .*headrace\.db\.key"):
        asyncio.run(used(add=False))
    assert key_file(url) is None


def test_secrets_of_a_lost_key_are_replaced(place: Place) -> None:
    in_store(place, add_secrets, OLD)
    flags: dict[str, Any] = {"store": place.url, "secret_key": NEW}
    settings = load_settings(flags, {})
    assert asyncio.run(replace_lost_secrets(settings)) == Replaced(1, 1, 1, 1)
    assert asyncio.run(replace_lost_secrets(settings)) == Replaced(0, 0, 0)
    secret, key, vapid = in_store(place, secrets_of, NEW)
    assert vapid.startswith("-----BEGIN PRIVATE KEY-----\n")
    assert place.run_sql("SELECT vapid_public_key FROM push_apps") != [("point",)]
    assert secret.startswith("whsec_")
    assert secret != SECRET
    assert key.startswith("-----BEGIN PRIVATE KEY-----\n")
    assert place.run_sql("SELECT status FROM domains") == [("pending",)]
    texts = [text for text in stored(place) if text]
    assert [key_id_of(text) for text in texts] == [key_id(NEW)] * 3
    # Without its headers a receiver could reject everything for good.
    ((names, paused_us),) = place.run_sql("SELECT header_names, paused_us FROM subscribers")
    assert names is None
    assert paused_us > 0
