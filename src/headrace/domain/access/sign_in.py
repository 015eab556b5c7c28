"""Signing in to the backoffice: roles, links, sessions, and limits on attempts."""

from __future__ import annotations

import secrets
from enum import StrEnum
from hashlib import sha256

import msgspec

SECOND_US = 1_000_000
HOUR_US = 3600 * SECOND_US

LINK_US = 24 * HOUR_US
SESSION_IDLE_US = 12 * HOUR_US
SESSION_US = 7 * 24 * HOUR_US
#: Precision of a session's last use; a finer one would be a write for every page.
SEEN_US = 60 * SECOND_US
#: How long personal data stays unmasked after a request.
REVEAL_US = 15 * 60 * SECOND_US

#: Attempts that an account and an address have within this window; then they wait for its end.
TRIES_WINDOW_US = 15 * 60 * SECOND_US
TRIES_OF_ACCOUNT_MAX = 10
TRIES_OF_ADDRESS_MAX = 50

PASSWORD_CHARACTERS_MIN = 12
#: The time of the hash grows with length.
PASSWORD_CHARACTERS_MAX = 256
#: 256 random bits, as text for links and cookies.
TOKEN_CHARACTERS = 43
SESSIONS_OF_OPERATOR_MAX = 50
#: Path of a link, before its token.
LINK_PATH = "/backoffice/welcome/"


class Role(StrEnum):
    """What a member may do in a project; each role includes the ones before it."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    OWNER = "owner"

    def includes(self, other: Role) -> bool:
        """Whether this role may do everything that `other` may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A sign-in link as it is stored."""

    token_hash: bytes
    #: None: its user becomes the first owner and enters the address.
    email: str | None
    created_us: int
    expires_us: int


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One browser that is signed in."""

    token_hash: bytes
    id: str
    email: str
    created_us: int
    seen_us: int
    address: str
    browser: str
    revealed_project_id: int | None = None
    revealed_until_us: int = 0

    def alive_at(self, now_us: int) -> bool:
        """Whether neither of its two limits has been reached."""
        return now_us < self.seen_us + SESSION_IDLE_US and now_us < self.created_us + SESSION_US


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """A session and what its operator may do."""

    session: Session
    #: Of the whole instance.
    is_owner: bool
    #: By project; an owner of the instance needs none.
    roles: dict[int, Role]

    def role_in(self, project_id: int) -> Role | None:
        """Role in a project, None for a stranger."""
        return Role.OWNER if self.is_owner else self.roles.get(project_id)

    @property
    def actor(self) -> str:
        """The operator's name in the audit."""
        return f"operator {self.session.email}"


class Throttle(msgspec.Struct, frozen=True):
    """What attempts are counted for, and how many a window allows."""

    subject: str
    tries_max: int


class Issued(msgspec.Struct, frozen=True):
    """A new token, which is shown once, and what is stored of it."""

    text: str
    token_hash: bytes


def issue() -> Issued:
    """Make a token from the system's randomness."""
    text = secrets.token_urlsafe(32)
    return Issued(text, token_hash(text))


def token_hash(text: str) -> bytes:
    """The stored hash of a token, defined for any text."""
    return sha256(text.encode("utf-8", "replace")).digest()


def issue_link(email: str | None, now_us: int) -> tuple[str, Link]:
    """A sign-in link's token and what is stored of it."""
    issued = issue()
    link = Link(
        token_hash=issued.token_hash, email=email, created_us=now_us, expires_us=now_us + LINK_US
    )
    return issued.text, link


def link_address(origin: str, token: str) -> str:
    """The full URL of a link."""
    return f"{origin.rstrip('/')}{LINK_PATH}{token}"


def issue_session(email: str, now_us: int, *, address: str, browser: str) -> tuple[str, Session]:
    """A session's token for the cookie and what is stored of it."""
    issued = issue()
    session = Session(
        token_hash=issued.token_hash,
        id=secrets.token_hex(8),
        email=email,
        created_us=now_us,
        seen_us=now_us,
        address=address,
        browser=browser,
    )
    return issued.text, session


def throttles(email: str, address: str) -> tuple[Throttle, Throttle]:
    """What an attempt to sign in as `email` from `address` counts for.

    The account is hashed: the text typed there may be anything, even a password by mistake.
    """
    account = sha256(email.encode("utf-8", "replace")).hexdigest()[:32]
    return (
        Throttle(f"account {account}", TRIES_OF_ACCOUNT_MAX),
        Throttle(f"address {address}", TRIES_OF_ADDRESS_MAX),
    )


def password_problem(password: str) -> str:
    """What is wrong with a new password, empty when it is valid."""
    if len(password) < PASSWORD_CHARACTERS_MIN:
        return (
            f"Use at least {PASSWORD_CHARACTERS_MIN} characters; "
            "a passphrase is easiest to remember."
        )
    if len(password) > PASSWORD_CHARACTERS_MAX:
        return f"Use at most {PASSWORD_CHARACTERS_MAX} characters."
    if len(set(password)) < 4:
        return "Use more than a few different characters."
    return ""
