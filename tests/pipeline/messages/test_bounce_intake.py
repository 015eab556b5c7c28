"""Bounces are applied once wherever a reader is killed; webhooks of SES are verified first."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from headrace.delivery.contract import DeliveryError, FailureCause
from headrace.domain.messages.feedback.form import FeedbackKind
from headrace.domain.messages.feedback.notification import Effect, Intake
from headrace.domain.messages.tokens import BounceAddresses
from headrace.pipeline.messages.mail_intake import MailIntake
from headrace.pipeline.messages.provider_webhooks import (
    CERTIFICATE_US,
    NotNowError,
    NotSignedError,
    ProviderKeys,
    ProviderWebhooks,
)
from headrace.store.contract.messages import Message, Notification
from headrace.store.messages.feedback.notifications import Wanted
from tests.support import mail
from tests.support.mail_box import MailBox, mail_box
from tests.support.places import Place
from tests.support.session import StoreSession
from tests.unit.messages.feedback.mails import report
from tests.unit.messages.feedback.test_sns_signature import NOW_US, TOPIC, URL, message, trusted

DOMAIN = "bounces.example.org"
FULL = "Final-Recipient: rfc822; ann@example.net\nAction: failed\nStatus: 4.2.2"
PROCESS_SECONDS_MAX = 60
_COMMAND = [sys.executable, "-m", "tests.pipeline.messages.bounce_process"]
CONFIRM = (
    f"https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=t"
)


def addresses_of(session: StoreSession) -> BounceAddresses:
    return BounceAddresses(session.run(session.store.messages.keys.get()), DOMAIN)


def sent(session: StoreSession, project: int) -> Message:
    made = mail.send_one(session, project)
    mail.deliver(session)
    return made


# --- the mailbox ---


@pytest.fixture(scope="module")
def box() -> Iterator[MailBox]:
    with mail_box() as started:
        yield started


def read_mailbox(place: Place, box: MailBox, fail_point: str = "") -> int:
    """Read until every mail is marked, or the process dies; returns its exit status."""
    done = subprocess.run(
        [*_COMMAND, place.url, box.url, DOMAIN],
        env=os.environ | {"HEADRACE_FAIL_POINT": fail_point},
        timeout=PROCESS_SECONDS_MAX,
        check=False,
    )
    return done.returncode


@pytest.mark.slow
def test_a_kill_between_storing_and_marking_applies_once(place: Place, box: MailBox) -> None:
    session = StoreSession(place)
    project = mail.new_project(session)
    addresses = addresses_of(session)
    for _ in range(3):
        box.deliver(report(FULL, to=addresses.sender(sent(session, project).id)))
    session.close()
    marked_before = sum("\\Seen" in flags for flags in box.flags())
    for number in (1, 2):
        assert read_mailbox(place, box, f"bounce_stored:kill:{number}") == -signal.SIGKILL
    # One was stored and not marked, then stored again with a second one, which was not marked.
    assert place.run_sql("SELECT count(*) FROM mail_notifications") == [(2,)]
    assert sum("\\Seen" in flags for flags in box.flags()) == marked_before + 1
    assert read_mailbox(place, box) == 0
    assert sum("\\Seen" in flags for flags in box.flags()) == marked_before + 3
    assert place.run_sql("SELECT count(*) FROM mail_notifications WHERE effect = 'counted'") == [
        (3,)
    ]
    assert place.run_sql("SELECT count FROM soft_bounces") == [(3,)]


def test_the_extract_has_no_personal_data(session: StoreSession) -> None:
    project = mail.new_project(session)
    addresses = addresses_of(session)
    intake = MailIntake(session.store.messages.notifications, addresses, session.store.clock_us)
    returned = "From: Shop <news@example.org>\nTo: Ann <ann@example.net>\nSubject: Your illness\n"
    bounce = report(FULL, to=addresses.sender(sent(session, project).id), returned=returned)
    reply = (
        f"To: {addresses.sender(sent(session, project).id)}\nFrom: Ann Example <ann@example.net>\n"
        "Auto-Submitted: auto-replied\nSubject: Away\n\nI am in hospital, call Bob.\n"
    ).encode()
    taken = [session.run(intake.mail(raw, intake=Intake.IMAP)) for raw in (bounce, reply)]
    assert [one.kind for one in taken] == [FeedbackKind.SOFT, FeedbackKind.AUTO_REPLY]
    text = "".join(one.raw for one in taken)
    assert "Status: 4.2.2" in text
    assert "auto-replied" in text
    for personal in ("ann@", "Ann", "illness", "hospital", "Away", addresses.sender("0" * 32)[:2]):
        assert personal not in text


# --- SES ---


class Sns:
    """Documents of Amazon SNS, and a clock."""

    def __init__(self) -> None:
        self.fetched: list[str] = []
        self.now_us = NOW_US
        self.is_down = False

    async def fetch(self, url: str) -> bytes:
        self.fetched.append(url)
        if self.is_down:
            raise DeliveryError(FailureCause.CONNECT_FAILED, "no connection")
        return trusted()


def ses_mail(**about: Any) -> str:
    return json.dumps({"eventType": "Bounce", **about})


@pytest.fixture
def sns() -> Sns:
    return Sns()


@pytest.fixture
def providers(session: StoreSession, sns: Sns) -> ProviderWebhooks:
    intake = MailIntake(
        session.store.messages.notifications, addresses_of(session), session.store.clock_us
    )
    keys = ProviderKeys(ses_topics=(TOPIC,))
    return ProviderWebhooks(intake, keys, sns.fetch, lambda: sns.now_us)


def take(session: StoreSession, providers: ProviderWebhooks, made: dict[str, Any]) -> Notification:
    return session.run(providers.ses(json.dumps(made).encode()))


def test_a_bounce_of_ses_is_applied_once(
    session: StoreSession, providers: ProviderWebhooks, sns: Sns
) -> None:
    project = mail.new_project(session)
    about = sent(session, project)
    inner = {
        "mail": {
            "source": "news@example.org",
            "tags": {"headrace": [addresses_of(session).keys.verp(about.id)]},
        },
        "bounce": {
            "bounceType": "Permanent",
            "bounceSubType": "General",
            "bouncedRecipients": [{"emailAddress": "ann@example.net", "status": "5.1.1"}],
        },
    }
    made = message(Message=ses_mail(**inner))
    first, again = (take(session, providers, made) for _ in range(2))
    assert first == again
    assert (first.effect, first.message_id, first.intake) == (
        Effect.SUPPRESSED,
        about.id,
        Intake.WEBHOOK,
    )
    assert "ann@example.net" not in first.raw
    assert made["Signature"] not in first.raw
    # The certificate is fetched once, and again when it is old.
    assert sns.fetched == [URL]
    sns.now_us += CERTIFICATE_US
    with pytest.raises(NotSignedError):
        take(session, providers, made)
    assert sns.fetched == [URL, URL]


def test_a_subscription_confirms_itself(
    session: StoreSession, providers: ProviderWebhooks, sns: Sns
) -> None:
    project = mail.new_project(session)
    made = message("SubscriptionConfirmation", SubscribeURL=CONFIRM, Token="t")
    shown = take(session, providers, made)
    assert sns.fetched == [URL, CONFIRM]
    assert (shown.kind, shown.event) == (FeedbackKind.UNKNOWN, "SubscriptionConfirmation")
    assert "Action=" not in shown.raw
    found = session.run(session.store.messages.notifications.list(project, Wanted(), limit=5))
    assert found == [shown]


@pytest.mark.parametrize(
    "url",
    [
        "https://sns.eu-west-1.amazonaws.com.evil.example/?Action=ConfirmSubscription&Token=t",
        "http://169.254.169.254/latest",
        "https://sns.eu-west-1.amazonaws.com/?Action=DeleteTopic",
    ],
)
def test_only_amazon_is_asked_to_confirm(
    session: StoreSession, providers: ProviderWebhooks, sns: Sns, url: str
) -> None:
    mail.new_project(session)
    made = message("SubscriptionConfirmation", SubscribeURL=url, Token="t")
    with pytest.raises(NotSignedError):
        take(session, providers, made)
    assert sns.fetched == [URL]


def test_what_cannot_be_verified_now_is_asked_for_again(
    session: StoreSession, providers: ProviderWebhooks, sns: Sns
) -> None:
    project = mail.new_project(session)
    sns.is_down = True
    for _ in range(10):
        with pytest.raises(NotNowError):
            take(session, providers, message())
    # Nobody can make this server call another one often.
    assert len(sns.fetched) < 10
    sns.is_down, sns.now_us = False, sns.now_us + 10_000_000
    assert take(session, providers, message()).project_id == project


def test_a_changed_message_is_rejected(session: StoreSession, providers: ProviderWebhooks) -> None:
    project = mail.new_project(session)
    with pytest.raises(NotSignedError):
        take(session, providers, message() | {"Message": ses_mail()})
    found = session.run(session.store.messages.notifications.list(project, Wanted(), limit=5))
    assert found == []
