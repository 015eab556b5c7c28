"""From a claimed message to the mail that goes to the relay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from headrace.delivery.mail.compose import MailContent, Unsubscribe, compose
from headrace.delivery.mail.contract import OutgoingMail
from headrace.delivery.mail.dkim import DkimKey, sign
from headrace.delivery.mail.links import (
    add_honeypot,
    add_pixel,
    find_links,
    rewrite_links,
)
from headrace.delivery.mail.plain_text import html_to_text
from headrace.delivery.mail.templates import Rendered, TemplateSource, render_source
from headrace.domain.contacts.contact import Contact
from headrace.domain.messages.addresses import Mailbox
from headrace.domain.messages.email_request import Attachment
from headrace.domain.messages.kinds import DomainStatus, MessageKind
from headrace.domain.messages.tokens import (
    OPEN_LINK,
    TOKEN_HEADER,
    BounceAddresses,
    MessageKeys,
    UnsubscribeTarget,
)
from headrace.domain.messages.variables import TemplateContact, template_values
from headrace.domain.timestamps import to_text
from headrace.store.contract.messages import Claimed, Material, Message
from headrace.store.messages.content.links import HONEYPOT_LINK


class LinkNumbers(Protocol):
    """Assigns numbers to link targets."""

    async def numbers(self, project_id: int, targets: list[str]) -> dict[str, int]: ...


class MailSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How mails are addressed, beside what the store has."""

    #: Base of links, without a slash at the end.
    public_url: str
    #: Where bounces come back; None: to the sender.
    bounce_domain: str | None = None
    #: Headers in which providers take the token of a message, to return it in their webhooks. The
    #: value is the token after the text here.
    provider_headers: tuple[tuple[str, str], ...] = ()


class Composed(msgspec.Struct, frozen=True, kw_only=True):
    """A mail, ready to be handed over."""

    mail: OutgoingMail
    subject: str
    #: Local part of the Message-ID.
    mail_key: str


class Composer:
    """Renders, tracks, composes and signs.

    Args:
        keys: of the store.
        links: where targets of tracked links get their numbers.
    """

    def __init__(self, keys: MessageKeys, links: LinkNumbers, settings: MailSettings) -> None:
        self._keys = keys
        self._links = links
        self._settings = settings

    async def compose(self, claimed: Claimed, material: Material, now_us: int) -> Composed:
        """Make the mail of one attempt.

        Raises:
            MissingVariableError: the message is to be skipped.
            TemplateError: it cannot be rendered.
            ComposeError: it cannot be composed.
        """
        message = claimed.message
        leave = self._leave_url(message, material)
        rendered = self._rendered(message, material, leave, now_us)
        text = rendered.text or html_to_text(rendered.html)
        html = await self._tracked(message, material, rendered.html)
        content = material.content
        key = self._keys.message_key(
            message.project_id,
            message.run_id or message.email_id or "",
            message.step_key or "",
            message.address or "",
        )
        made = compose(
            MailContent(
                message_key=key,
                sending_domain=content.sender.domain,
                kind=message.kind,
                sender=content.sender,
                to=self._shown_to(message, material),
                cc=content.cc,
                reply_to=content.reply_to,
                subject=rendered.subject,
                preview=rendered.preview,
                text=text,
                html=html,
                headers=content.headers,
                attachments=tuple(
                    Attachment(name=file.name, type=file.type, data=data)
                    for file, data in zip(content.files, material.files, strict=True)
                ),
                at_us=now_us,
                # A retry is marked as one only when an earlier attempt may have arrived.
                attempt=claimed.unknowns + 1,
                unsubscribe=self._unsubscribe(message, material, leave),
                topic_id=message.topic_id,
                feedback=_feedback(message, material),
                own_headers=self._own_headers(message, content.headers),
            )
        )
        domain = material.domain
        if domain is not None and domain.dkim_key and domain.status is DomainStatus.VERIFIED:
            signer = DkimKey(domain.name, domain.dkim_selector, domain.dkim_key.encode())
            made = sign(made, signer, now_us // 1_000_000)
        mail = OutgoingMail(
            message_id=message.id,
            sender=self._envelope_sender(message, material),
            recipient=message.recipient or message.address or "",
            content=made,
        )
        return Composed(mail=mail, subject=rendered.subject, mail_key=key)

    def _own_headers(
        self, message: Message, authored: tuple[tuple[str, str], ...]
    ) -> tuple[tuple[str, str], ...]:
        token = self._keys.verp(message.id)
        names = {name.lower() for name, _ in authored}
        return (
            (TOKEN_HEADER, token),
            *(
                (name, before + token)
                for name, before in self._settings.provider_headers
                if name.lower() not in names
            ),
        )

    def _rendered(self, message: Message, material: Material, leave: str, now_us: int) -> Rendered:
        content, version = material.content, material.version
        if version is not None:
            source = TemplateSource(
                subject=content.subject or version.content.subject,
                preview=version.content.preview,
                html=version.content.html,
                text=version.content.text,
            )
        else:
            source = TemplateSource(
                subject=content.subject or "",
                html=material.html or "",
                text=material.text or "",
            )
            if content.variables is None:
                return Rendered(
                    subject=source.subject, preview="", html=source.html, text=source.text
                )
        values = template_values(
            variables=content.variables or {},
            payload=content.payload,
            contact=template_contact(material.contact),
            unsubscribe_url=leave,
            preferences_url=leave,
        )
        return render_source(source, _with_address(values, message), now_us)

    async def _tracked(self, message: Message, material: Material, html: str) -> str:
        """Add tracked links and the pixel if the send, else the domain, enables them."""
        if not html:
            return html
        base = self._settings.public_url
        if _wanted(material, "track_clicks"):
            links = find_links(html, base)
            targets = list(dict.fromkeys(link.target for link in links))
            numbers = await self._links.numbers(message.project_id, targets)
            urls = {
                target: f"{base}/c/{self._keys.tracking(message.id, number)}"
                for target, number in numbers.items()
            }
            html = rewrite_links(html, links, urls.__getitem__)
            if urls:
                token = self._keys.tracking(message.id, HONEYPOT_LINK)
                html = add_honeypot(html, f"{base}/c/{token}")
        if _wanted(material, "track_opens"):
            token = self._keys.tracking(message.id, OPEN_LINK)
            html = add_pixel(html, f"{base}/o/{token}")
        return html

    def _leave_url(self, message: Message, material: Material) -> str:
        if material.contact is None:
            return ""
        target = UnsubscribeTarget(
            project_id=message.project_id,
            contact_id=material.contact.id,
            topic_id=message.topic_id,
            message_id=message.id,
        )
        return f"{self._settings.public_url}/u/{self._keys.unsubscribe(target)}"

    def _unsubscribe(self, message: Message, material: Material, leave: str) -> Unsubscribe | None:
        if message.kind is not MessageKind.MARKETING or material.contact is None:
            return None
        domain = self._settings.bounce_domain or material.content.sender.domain
        addresses = BounceAddresses(self._keys, domain)
        return Unsubscribe(
            url=leave, address=addresses.unsubscribe(material.contact.id, message.topic_id)
        )

    def _envelope_sender(self, message: Message, material: Material) -> str:
        if self._settings.bounce_domain is None:
            return material.content.sender.wire_address
        return BounceAddresses(self._keys, self._settings.bounce_domain).sender(message.id)

    def _shown_to(self, message: Message, material: Material) -> tuple[Mailbox, ...]:
        content = material.content
        if content.to:
            return content.to
        return (Mailbox(message.address or "", "", _local(message)),)


def _wanted(material: Material, flag: str) -> bool:
    own: bool | None = getattr(material.content, flag)
    if own is not None:
        return own
    if material.content.kind is not MessageKind.MARKETING:
        return False
    return material.domain is None or bool(getattr(material.domain, flag))


def template_contact(contact: Contact | None) -> TemplateContact | None:
    """What a template may know of a contact."""
    if contact is None:
        return None
    return TemplateContact(
        id=contact.id,
        external_id=contact.external_id,
        email=contact.email_original or contact.email,
        properties=contact.properties,
        created_at=to_text(contact.created_us),
    )


def _with_address(values: Mapping[str, Any], message: Message) -> dict[str, Any]:
    """Set `email` to the recipient's address unless a variable has that name."""
    return {"email": message.address, **values}


def _feedback(message: Message, material: Material) -> tuple[str, str, str, str]:
    automation, version = material.content.automation or ("", "")
    return automation, version, message.topic_id or "", str(message.project_id)


def _local(message: Message) -> str | None:
    if message.recipient is None or message.recipient == message.address:
        return None
    return message.recipient.rpartition("@")[0]
