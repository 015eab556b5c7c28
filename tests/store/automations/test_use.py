"""What published automations use is not deleted by mistake."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from headrace.domain.automations.running.starting import AutomationStatus
from headrace.domain.contacts.audiences import AudienceFields
from headrace.domain.push.app_requests import push_app_fields
from headrace.store.access.automation_use import UsedByAutomationsError
from headrace.store.contract.automations import Automation
from tests.support.automation_mail import send_mail, set_up_mail
from tests.support.session import StoreSession
from tests.support.stored_automations import PROJECT, StoredAutomations, chain, delay, wait

Delete = Callable[..., Coroutine[Any, Any, bool]]


@pytest.fixture
def shop(session: StoreSession) -> StoredAutomations:
    shop = StoredAutomations(session)
    set_up_mail(shop)
    fields = AudienceFields(name="VIP")
    session.run(session.store.audiences.create(PROJECT, fields, shop.clock()))
    return shop


def set_status(shop: StoredAutomations, of: Automation, status: AutomationStatus) -> None:
    changed = shop.definitions.set_status(PROJECT, of.id, status, shop.clock(), actor="t")
    shop.session.run(changed)


def only(shop: StoredAutomations, rows: Any) -> str:
    (found,) = shop.session.run(rows)
    return str(found.id)


def audience(shop: StoredAutomations) -> str:
    return only(shop, shop.session.store.audiences.list(PROJECT, before=None, limit=2))


def topic(shop: StoredAutomations) -> str:
    return only(shop, shop.session.store.topics.list(PROJECT, before=None, limit=2))


def domain(shop: StoredAutomations) -> str:
    return only(shop, shop.session.store.messages.domains.list(PROJECT, before=None, limit=2))


def new_app(shop: StoredAutomations) -> str:
    apps, fields = shop.session.store.push.apps, push_app_fields("Shop", [])
    made = apps.create(PROJECT, fields, shop.clock(), vapid=("public", "private"), actor="t")
    return str(shop.session.run(made).id)


def refused(shop: StoredAutomations, delete: Delete, object_id: str, **more: Any) -> list[str]:
    """Names of the automations for which it was not deleted."""
    with pytest.raises(UsedByAutomationsError) as raised:
        shop.session.run(delete(PROJECT, object_id, shop.clock(), **more))
    return [user.name for user in raised.value.users]


ENTER = {"type": "add_to_audience", "config": {"audience": "VIP"}}


def test_objects_of_steps_and_filters_are_kept(shop: StoredAutomations) -> None:
    store, app = shop.session.store, new_app(shop)
    shop.start_with(chain(ENTER, send_mail()), "steps")
    filters = {"all": [{"contact.in_audience": "VIP"}, {"contact.subscribed_to": "News"}]}
    trigger = {"filters": {**filters, "app_id": app}}
    shop.start_with(chain(delay(), trigger=trigger), "filters")
    both = ["steps", "filters"]
    assert refused(shop, store.audiences.delete, audience(shop)) == both
    assert refused(shop, store.topics.delete, topic(shop)) == both
    assert refused(shop, store.messages.domains.delete, domain(shop), actor="t") == ["steps"]
    assert refused(shop, store.push.apps.delete, app, actor="t") == ["filters"]


def test_force_deletes_and_the_step_is_skipped(shop: StoredAutomations) -> None:
    of = shop.start_with(chain(ENTER, delay()))
    delete = shop.session.store.audiences.delete
    assert shop.session.run(delete(PROJECT, audience(shop), shop.clock(), force=True))
    shop.send()
    step = shop.detail(of).run.steps[0]
    assert (step.status, step.reason) == ("skipped", "gone")


def test_draft_and_archived_automations_use_nothing(shop: StoredAutomations) -> None:
    shop.create(chain(ENTER, delay()), "draft")
    archived = shop.start_with(chain(ENTER, delay()), "archived")
    set_status(shop, archived, AutomationStatus.ARCHIVED)
    delete = shop.session.store.audiences.delete
    assert shop.session.run(delete(PROJECT, audience(shop), shop.clock()))


def test_open_runs_of_an_archived_automation_use_their_version(shop: StoredAutomations) -> None:
    of = shop.start_with(chain(wait(seconds=60), ENTER, delay(1)))
    shop.send()
    set_status(shop, of, AutomationStatus.ARCHIVED)
    delete = shop.session.store.audiences.delete
    assert refused(shop, delete, audience(shop)) == ["auto"]
    shop.forward(60)
    assert shop.runs(of)[0].status == "completed"
    assert shop.session.run(delete(PROJECT, audience(shop), shop.clock()))


def test_paused_automation_keeps_what_it_needs_when_resumed(shop: StoredAutomations) -> None:
    of = shop.start_with(chain(ENTER, delay()))
    set_status(shop, of, AutomationStatus.PAUSED)
    assert refused(shop, shop.session.store.audiences.delete, audience(shop)) == ["auto"]


def test_other_project_and_other_ids_do_not_matter(shop: StoredAutomations) -> None:
    shop.start_with(chain(ENTER, delay()))
    delete = shop.session.store.topics.delete
    assert shop.session.run(delete(PROJECT, topic(shop), shop.clock()))
    other = shop.session.run(shop.session.store.projects.create("two", shop.clock(), actor="t"))
    gone = shop.session.store.audiences.delete(other.id, audience(shop), shop.clock())
    assert not shop.session.run(gone)
