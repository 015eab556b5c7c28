"""Checks URLs of webhooks by their text alone, before any name is resolved."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

import idna

from headrace.delivery.contract import DeliveryError, FailureCause
from headrace.delivery.webhook.addresses import Address, Network, rejection_reason

URL_CHARACTERS_MAX = 2048
_HOST_CHARACTERS_MAX = 253

_CONTROL_OR_BLANK = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029]|[^\S ]")
_URL = re.compile(r"(?P<scheme>[a-z]+)://(?P<authority>[^/?#]*)(?P<rest>[^#]*)", re.IGNORECASE)
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]*\]|[^\[\]:]*)(?::(?P<port>[0-9]{1,5}))?")
_REST = re.compile(r"(?:[!$&-;=?@_~a-zA-Z0-9\[\]]|%[0-9a-fA-F]{2})*")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
#: Resolvers parse a last label like these as an address, in decimal, octal or hexadecimal.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")

_DEFAULT_PORT = {"http": 80, "https": 443}

#: Ports of non-HTTP services that could act on the text of a request: those that browsers block,
#: then remote desktops, databases, caches and container engines.
BLOCKED_PORTS = frozenset(
    {
        *(0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95),
        *(101, 102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161),
        *(179, 389, 427, 445, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556),
        *(563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190),
        *(5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080),
        *(3389, 5900, 1433, 1521, 3306, 5432, 6379, 11211, 27017, 2375, 2376),
    }
)


class UrlRefusedError(DeliveryError):
    """A URL that breaks a rule; the message is a sentence for the caller, without the URL."""

    def __init__(self, message: str) -> None:
        super().__init__(FailureCause.URL_REFUSED, message)


class AddressRefusedError(DeliveryError):
    """A target on an address that must not be called."""

    def __init__(self, message: str) -> None:
        super().__init__(FailureCause.ADDRESS_REFUSED, message)


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookUrl:
    """A checked URL, rebuilt so that every parser reads it the same way."""

    text: str
    scheme: str
    #: Host and port as in the header `Host`, without the scheme's default port.
    authority: str
    #: Path and query.
    target: str
    #: Lower-case ASCII; an IPv6 address without its brackets.
    host: str
    port: int
    #: Set when the host is an address and not a name.
    address: Address | None


def check_url(text: str, allowed: tuple[Network, ...] = ()) -> WebhookUrl:
    """Check a URL as given; done when it is saved and again before every call.

    Args:
        text: the URL.
        allowed: networks that the operator allows.

    Raises:
        UrlRefusedError: the text breaks a rule.
        AddressRefusedError: the host is an address that must not be called.
    """
    match = _check_text(text)
    scheme = match["scheme"].lower()
    if scheme not in _DEFAULT_PORT:
        raise UrlRefusedError("must begin with https:// or http://")
    host, address, port_text = _check_authority(match["authority"])
    port = int(port_text) if port_text else _DEFAULT_PORT[scheme]
    if not 0 < port <= 65535:
        raise UrlRefusedError("has a port outside 1 to 65535")
    if port in BLOCKED_PORTS:
        raise UrlRefusedError(f"has port {port}, which belongs to a service that is not HTTP")
    rest = match["rest"]
    if _REST.fullmatch(rest) is None:
        raise UrlRefusedError(
            "must percent-encode everything except letters, digits and punctuation"
        )
    if address is not None:
        check_address(address, allowed)
    shown_host = f"[{host}]" if isinstance(address, IPv6Address) else host
    shown_port = "" if port == _DEFAULT_PORT[scheme] else f":{port}"
    authority = f"{shown_host}{shown_port}"
    target = rest if rest.startswith("/") else f"/{rest}"
    return WebhookUrl(
        text=f"{scheme}://{authority}{target}",
        scheme=scheme,
        authority=authority,
        target=target,
        host=host,
        port=port,
        address=address,
    )


def check_address(address: Address, allowed: tuple[Network, ...] = ()) -> None:
    """Check an address that is about to be called.

    Raises:
        AddressRefusedError: it must not be called.
    """
    kind = rejection_reason(address, allowed)
    if kind is not None:
        raise AddressRefusedError(f"{address} must not be called: it is {kind}")


def _check_text(text: str) -> re.Match[str]:
    if len(text) > URL_CHARACTERS_MAX:
        raise UrlRefusedError(f"must be at most {URL_CHARACTERS_MAX} characters")
    if _CONTROL_OR_BLANK.search(text):
        raise UrlRefusedError("must not contain whitespace or control characters")
    if "\\" in text:
        raise UrlRefusedError("must not contain a backslash")
    if "#" in text:
        raise UrlRefusedError("must not have a fragment (#): it would never be sent")
    match = _URL.fullmatch(text)
    if match is None:
        raise UrlRefusedError("must be a full URL such as https://example.com/hook")
    return match


def _check_authority(authority: str) -> tuple[str, Address | None, str | None]:
    if "@" in authority:
        raise UrlRefusedError("must not contain a user name or password")
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise UrlRefusedError("has an invalid host or port")
    host: str = match["host"]
    if host.startswith("["):
        try:
            address = IPv6Address(host[1:-1])
        except AddressValueError:
            raise UrlRefusedError("has a malformed IPv6 address") from None
        return str(address), address, match["port"]
    name = _check_name(host)
    return name, _ipv4(name), match["port"]


def _check_name(host: str) -> str:
    """The host in lower-case ASCII, without the final dot of a fully qualified name."""
    if not host:
        raise UrlRefusedError("has no host")
    if host.isascii():
        name = host.lower()
    else:
        # The mapping turns full-width letters, digits and dots into plain ones, so its result is
        # checked as if it had been sent.
        try:
            name = idna.encode(host, uts46=True, std3_rules=True).decode()
        except (idna.IDNAError, UnicodeError):
            raise UrlRefusedError("has a host that is not a valid international name") from None
    name = name.removesuffix(".")
    if len(name) > _HOST_CHARACTERS_MAX:
        raise UrlRefusedError(f"has a host of more than {_HOST_CHARACTERS_MAX} characters")
    for label in name.split("."):
        if _LABEL.fullmatch(label) is None:
            raise UrlRefusedError("has a host that is not a valid name")
        if label.startswith("xn--"):
            _check_encoded_label(label)
    return name


def _check_encoded_label(label: str) -> None:
    try:
        idna.ulabel(label)
    except (idna.IDNAError, UnicodeError):
        raise UrlRefusedError("has a host that is not a valid international name") from None


def _ipv4(name: str) -> IPv4Address | None:
    """The address, if the name is one; rejects notations that only some software accepts."""
    if _NUMBER.fullmatch(name.rpartition(".")[2]) is None:
        return None
    try:
        return IPv4Address(name)
    except AddressValueError:
        raise UrlRefusedError(
            "has a host in an unusual spelling of an address; write it as four decimal numbers"
        ) from None
