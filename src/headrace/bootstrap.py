"""Initial content of a new store, so that its owner can send the first event at once."""

from __future__ import annotations

import msgspec

from headrace.domain.access.api_keys import SECRET_SCOPES, IssuedKey, issue_key
from headrace.domain.access.sign_in import issue_link
from headrace.store.store import Store

PROJECT = "default"
KEY_NAME = "first key"
ACTOR = "first start"


class FirstStart(msgspec.Struct, frozen=True):
    """Initial credentials; each text is shown once and not stored."""

    key: IssuedKey
    #: Token of a link that makes its user the first owner; None when there are operators.
    link_token: str | None


async def first_start(store: Store, now_us: int) -> FirstStart | None:
    """Make project `default` and a key with all scopes in an empty store.

    A process killed between the two leaves the project without a key, which the next start makes. A
    store with other projects or keys is not changed.

    Returns:
        The new key and sign-in link, None when this was not the first start.
    """
    projects = await store.projects.list()
    if not projects:
        project = await store.projects.create(PROJECT, now_us, actor=ACTOR)
    elif [each.name for each in projects] == [PROJECT]:
        project = projects[0]
        if await store.projects.list_keys(project.id):
            return None
    else:
        return None
    issued = issue_key(project.id, SECRET_SCOPES, name=KEY_NAME, now_us=now_us)
    # Before the key: the key shows the next start that everything is done.
    link_token = None
    if not await store.operators.list():
        link_token, link = issue_link(None, now_us)
        await store.sign_in.add_link(link, actor=ACTOR)
    await store.projects.add_key(issued.key, actor=ACTOR)
    return FirstStart(issued, link_token)
