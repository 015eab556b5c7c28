"""Sending domains for the edges: created with a key, shown with their records, verified."""

from __future__ import annotations

import asyncio

import msgspec

from headrace.delivery.mail.dkim import DkimKey, new_dkim_key
from headrace.delivery.mail.dns_lookup import DnsLookup, check_records
from headrace.domain.errors import ApiError, ErrorCode, FieldProblem
from headrace.domain.messages.dns_records import DnsRecord, RecordCheck, is_verified, records_of
from headrace.domain.messages.requests import DomainFields
from headrace.store.contract.errors import StoreConflictError
from headrace.store.contract.messages import DOMAINS_MAX, Domain
from headrace.store.messages.content.domains import TooManyDomainsError
from headrace.store.store import Store

#: Of keys that are generated here.
SELECTOR = "headrace"


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """A domain and the result of checking its records."""

    domain: Domain
    checks: tuple[RecordCheck, ...]


class SendingDomains:
    """Domains of all projects.

    Args:
        lookup: asks DNS.
        spf: mechanisms that name the relay, as `records_of` takes them.
        bounce_domain: domain of the envelope sender; None: the sending domain itself.
    """

    def __init__(
        self, store: Store, lookup: DnsLookup, *, spf: str, bounce_domain: str | None
    ) -> None:
        self._store = store
        self._lookup = lookup
        self._spf = spf
        self._bounce_domain = bounce_domain

    async def create(
        self, project_id: int, fields: DomainFields, *, verified: bool, actor: str
    ) -> Domain:
        """Make a domain with a key of its own.

        Args:
            verified: trust `actor` instead of checking DNS.

        Raises:
            ApiError: 409 when the project has it, or too many.
        """
        name = fields.name or ""
        key = await asyncio.to_thread(new_dkim_key, name, SELECTOR)
        try:
            return await self._store.messages.domains.create(
                project_id,
                name,
                self._store.clock_us(),
                dkim=(key.selector, key.private_pem.decode()),
                track=(fields.track_opens is not False, fields.track_clicks is not False),
                verified_by=actor if verified else None,
                actor=actor,
            )
        except StoreConflictError:
            problem = FieldProblem("name", "is a domain of this project already")
            raise ApiError(ErrorCode.CONFLICT, problem.message, details=(problem,)) from None
        except TooManyDomainsError:
            message = f"A project has at most {DOMAINS_MAX} domains."
            raise ApiError(ErrorCode.CONFLICT, message) from None

    def records(self, domain: Domain) -> tuple[DnsRecord, ...]:
        """What to publish for a domain.

        Raises:
            StoreError: its key cannot be opened.
        """
        private_key = self._store.messages.domains.private_key(domain)
        key = DkimKey(domain.name, domain.dkim_selector, private_key.encode())
        return records_of(
            domain.name,
            dkim_name=key.record_name,
            dkim_value=key.record_value,
            spf=self._spf,
            bounce_domain=self._bounce_domain,
        )

    async def check(self, domain: Domain) -> tuple[RecordCheck, ...]:
        """Look the records of a domain up; changes nothing.

        Raises:
            StoreError: its key cannot be opened.
        """
        return await check_records(self.records(domain), self._lookup)

    async def verify(self, project_id: int, domain_id: str, *, actor: str) -> Checked | None:
        """Look the records up and store the result; None when there is no such domain.

        A domain that was trusted without a check stays verified whatever is found.
        """
        domains = self._store.messages.domains
        domain = await domains.get(project_id, domain_id)
        if domain is None:
            return None
        checks = await self.check(domain)
        on_word = domain.verified_by not in {None, "dns"}
        if not on_word:
            verified_by = "dns" if is_verified(checks) else None
            if verified_by != domain.verified_by:
                changed = await domains.verify(
                    project_id,
                    domain_id,
                    self._store.clock_us(),
                    verified_by=verified_by,
                    actor=actor,
                )
                domain = changed or domain
        return Checked(domain=domain, checks=checks)
