"""Webhooks of mail providers: who sent them, and what they say.

Only a webhook whose sender is verified is read. Then it is stored, whatever it says: a type that is
not known is no error, neither here nor for the provider, which would send it again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from headrace.delivery.contract import DeliveryError
from headrace.domain.messages.feedback.providers import payloads, sns_signature
from headrace.domain.messages.feedback.providers.credentials import (
    password_matches,
    standard_webhook_is_signed,
)
from headrace.domain.messages.feedback.providers.postmark import read_postmark
from headrace.domain.messages.feedback.providers.resend import read_resend
from headrace.domain.messages.feedback.providers.ses import read_ses
from headrace.pipeline.messages.mail_intake import MailIntake
from headrace.pipeline.token_bucket import TokenBucket
from headrace.store.contract.messages import Notification

#: Certificates that are kept, and for how long. SNS changes its own about once a year.
CERTIFICATES_MAX = 16
CERTIFICATE_US = 24 * 3600 * 1_000_000
#: Documents fetched a second, so that nobody can make this server call another one often.
FETCHES_PER_SECOND = 2

#: Fetches a document; raises `DeliveryError`.
Fetch = Callable[[str], Awaitable[bytes]]


class ProviderKeys(msgspec.Struct, frozen=True, kw_only=True):
    """What webhooks are verified with; a provider without is not accepted."""

    #: ARNs of the topics of Amazon SNS that SES publishes to.
    ses_topics: tuple[str, ...] = ()
    #: User and password of the address given to Postmark.
    postmark_user: str = ""
    postmark_password: str = ""
    #: `whsec_…`; more than one during a rotation.
    resend_secrets: tuple[str, ...] = ()


class NotConfiguredError(Exception):
    """Webhooks of this provider are not accepted."""


class NotSignedError(Exception):
    """The webhook is not from the provider; the message is safe to show."""


class NotNowError(Exception):
    """It cannot be verified or confirmed now; the provider has to send it again."""


class ProviderWebhooks:
    """Verifies and takes webhooks.

    Args:
        fetch: reads a document from an address of Amazon SNS, through the address guard.
        clock_us: wall clock.
    """

    def __init__(
        self, intake: MailIntake, keys: ProviderKeys, fetch: Fetch, clock_us: Callable[[], int]
    ) -> None:
        self._intake = intake
        self._keys = keys
        self._fetch = fetch
        self._clock_us = clock_us
        self._fetches = TokenBucket(FETCHES_PER_SECOND)
        #: By address, with the time until which each is used; oldest first.
        self._certificates: dict[str, tuple[int, bytes]] = {}

    async def postmark(self, authorization: str, body: bytes) -> Notification:
        """Take a webhook of Postmark.

        Raises:
            NotConfiguredError, NotSignedError, StoreError: nothing was stored.
        """
        keys = self._keys
        if not keys.postmark_password:
            raise NotConfiguredError
        if not password_matches(authorization, keys.postmark_user, keys.postmark_password):
            raise NotSignedError("User or password is wrong.")
        reports = read_postmark(body, self._intake.addresses)
        return await self._intake.webhook("postmark", body, reports)

    async def resend(self, headers: Mapping[str, str], body: bytes) -> Notification:
        """Take a webhook of Resend.

        Args:
            headers: names in lower case.

        Raises:
            NotConfiguredError, NotSignedError, StoreError: nothing was stored.
        """
        secrets = self._keys.resend_secrets
        if not secrets:
            raise NotConfiguredError
        if not standard_webhook_is_signed(headers, body, secrets, self._clock_us()):
            raise NotSignedError("The signature is missing, wrong or too old.")
        reports = read_resend(body, self._intake.addresses)
        return await self._intake.webhook("resend", body, reports)

    async def ses(self, body: bytes) -> Notification:
        """Take a message of Amazon SNS; confirms the subscription of a known topic.

        Raises:
            NotConfiguredError, NotSignedError, NotNowError, StoreError: nothing was stored.
        """
        if not self._keys.ses_topics:
            raise NotConfiguredError
        members = payloads.read_json(body)
        if members.get("TopicArn") not in self._keys.ses_topics:
            raise NotSignedError("The topic is not one of HEADRACE_MAIL_SES_TOPICS.")
        url = members.get("SigningCertURL")
        if not isinstance(url, str) or not sns_signature.certificate_url_is_allowed(url):
            raise NotSignedError("The certificate is not from Amazon SNS.")
        if sns_signature.signed_text(members) is None:
            raise NotSignedError("A member that is signed is missing.")
        certificate = await self._certificate(url)
        now_us = self._clock_us()
        if not sns_signature.is_signed(members, certificate, self._keys.ses_topics, now_us):
            raise NotSignedError("The signature is wrong or too old.")
        if members["Type"] == "SubscriptionConfirmation":
            await self._confirm(members["SubscribeURL"])
        reports = read_ses(body, self._intake.addresses)
        return await self._intake.webhook("ses", body, reports)

    async def _certificate(self, url: str) -> bytes:
        now_us = self._clock_us()
        until_us, found = self._certificates.get(url, (0, b""))
        if now_us < until_us:
            return found
        found = await self._fetched(url)
        self._certificates.pop(url, None)
        self._certificates[url] = (now_us + CERTIFICATE_US, found)
        if len(self._certificates) > CERTIFICATES_MAX:
            del self._certificates[next(iter(self._certificates))]
        return found

    async def _confirm(self, url: str) -> None:
        if not sns_signature.confirm_url_is_allowed(url):
            raise NotSignedError("The address to confirm is not of Amazon SNS.")
        await self._fetched(url)

    async def _fetched(self, url: str) -> bytes:
        if self._fetches.take(self._clock_us()):
            raise NotNowError("Too many documents were requested from Amazon SNS.")
        try:
            return await self._fetch(url)
        except DeliveryError as error:
            message = f"Amazon SNS cannot be reached: {error}"
            raise NotNowError(message) from error
